/* The few NVML calls that the agent makes, answered from a text file: energy_mj power_mw utilisation temperature_c used_bytes,
   where -1 stands for "not supported". The path comes in FAKE_NVML_STATE and is read at each call. */
#include <stdio.h>
#include <stdlib.h>

static long long value(int place) {
    long long found[5] = {-1, -1, -1, -1, -1};
    FILE *file = fopen(getenv("FAKE_NVML_STATE"), "r");
    if (file == NULL) return -1;
    if (fscanf(file, "%lld %lld %lld %lld %lld", found, found + 1, found + 2, found + 3, found + 4) < 0) found[place] = -1;
    fclose(file);
    return found[place];
}

enum { SUCCESS = 0, NOT_SUPPORTED = 3 };

int nvmlInitWithFlags(unsigned flags) { (void)flags; return SUCCESS; }
int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "not supported"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { (void)index; *device = device; return SUCCESS; }

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *energy_mj) {
    (void)device;
    *energy_mj = (unsigned long long)value(0);
    return value(0) < 0 ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *power_mw) {
    (void)device;
    *power_mw = (unsigned)value(1);
    return value(1) < 0 ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned rates[2]) {
    (void)device;
    rates[0] = (unsigned)value(2);
    rates[1] = 0;
    return value(2) < 0 ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *temperature_c) {
    (void)device, (void)sensor;
    *temperature_c = (unsigned)value(3);
    return value(3) < 0 ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3]) {
    (void)device;
    memory[0] = 80ULL << 30;
    memory[2] = (unsigned long long)value(4);
    memory[1] = memory[0] - memory[2];
    return value(4) < 0 ? NOT_SUPPORTED : SUCCESS;
}
