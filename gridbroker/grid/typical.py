"""A modelled typical day of each zone, for use where no grid source is configured. A model, not a record of any day.

It repeats every day of the year. What shows it must label it `modelled`.

Levels: the daily mean of each row lies within 3 % of the zone's annual mean carbon intensity, and within 3 percentage points of its
annual renewable share, of 2025 as published by Electricity Maps (consumption-based, life cycle; annual means under the ODbL,
credit Electricity Maps). `ANNUAL_2025` holds them. Price levels are round figures of our own, near the day-ahead means of 2024
(for example Germany EUR 79.6 and Italy EUR 107 per MWh as FfE computed them from ENTSO-E data); the three American zones are
in EUR too.

Shapes: chosen by us, from no single source. Most zones have a solar valley around local noon and an evening peak; France is flat
(nuclear), California has the deepest valley, Texas and New York peak late. Three zones show a chosen weather: Spain a sunny day,
clean and almost free from nine to five (UTC) and carried by gas in the evening; Great Britain a still day between windy nights;
Germany an overcast day, dirtier than both throughout. Such a day makes moving worth while, which most days do not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from gridbroker.grid.signal import SignalKind

HOURS_PER_DAY = 24


@dataclass(frozen=True, slots=True)
class TypicalDay:
    """24 values each, by hour of day in UTC."""

    intensity_g_per_kwh: tuple[int, ...]
    price_eur_per_mwh: tuple[int, ...]
    renewable_percent: tuple[int, ...]

    def __post_init__(self) -> None:
        assert len(self.intensity_g_per_kwh) == len(self.price_eur_per_mwh) == len(self.renewable_percent) == HOURS_PER_DAY


def value(zone: str, kind: SignalKind, at: datetime) -> float:
    """The modelled value of a known zone for the hour that `at` (aware) lies in, in the unit of its kind."""
    day, hour = TYPICAL_DAYS[zone], at.astimezone(UTC).hour
    match kind:
        case SignalKind.CARBON_INTENSITY:
            return float(day.intensity_g_per_kwh[hour])
        case SignalKind.PRICE:
            return float(day.price_eur_per_mwh[hour])
        case SignalKind.RENEWABLE_SHARE:
            return day.renewable_percent[hour] / 100


def _day(intensities: str, prices: str, renewables: str) -> TypicalDay:
    return TypicalDay(_row(intensities), _row(prices), _row(renewables))


def _row(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


ANNUAL_2025: Mapping[str, tuple[int, int]] = {
    "FR": (31, 27),
    "DE": (342, 60),
    "ES": (136, 57),
    "PT": (117, 77),
    "NL": (253, 54),
    "BE": (180, 38),
    "IT": (286, 43),
    "GB": (176, 52),
    "US-CAL-CISO": (208, 55),
    "US-NY-NYIS": (314, 22),
    "US-TEX-ERCO": (363, 37),
}
"""Annual mean of the carbon intensity in gCO2e/kWh, and renewable share in per cent. Electricity Maps, ODbL."""

# Rows: gCO2e/kWh, EUR/MWh, renewable per cent; columns: hours 0 to 23 UTC.
TYPICAL_DAYS: Mapping[str, TypicalDay] = {
    "FR": _day(
        " 31  31  31  31  31  31  31  31  30  30  29  29  28  29  29  30  31  33  34  35  34  33  32  31",
        " 57  55  54  55  57  63  70  72  64  50  36  26  22  26  35  47  61  74  86  91  87  77  67  61",
        " 24  24  24  24  24  24  25  26  27  30  34  36  37  36  33  30  27  24  23  22  22  23  23  24",
    ),
    "DE": _day(
        "352 350 348 348 350 358 362 350 334 322 312 306 304 306 312 324 342 362 376 380 376 368 360 356",
        " 74  71  69  70  76  92 108 104  86  70  58  52  50  52  60  74  94 112 118 110  98  88  82  77",
        " 58  58  58  58  57  56  56  59  63  66  68  69  70  69  68  65  61  57  54  53  54  56  57  58",
    ),
    "ES": _day(
        "172 170 168 168 170 172 160 122  88  70  65  63  62  62  63  65  72 102 168 206 214 212 204 192",
        " 64  60  57  56  58  66  78  62  30  12   5   3   2   2   2   3   6  38  92 118 124 120 108  92",
        " 47  47  48  48  47  47  50  61  71  78  80  81  81  81  81  80  77  65  50  40  38  39  41  43",
    ),
    "PT": _day(
        "132 132 133 133 132 129 126 121 115 104  91  78  68  68  75  89 104 119 134 146 152 149 141 135",
        " 70  67  66  66  66  68  72  75  71  58  41  27  18  17  24  37  51  67  84  99 105 100  88  76",
        " 75  76  76  76  76  76  76  77  78  79  81  83  85  85  84  82  79  76  73  70  69  70  72  74",
    ),
    "NL": _day(
        "277 279 279 277 274 270 263 252 234 209 183 164 160 174 201 233 265 294 314 316 305 290 280 277",
        " 78  77  77  78  81  87  94  92  77  58  41  31  29  36  49  67  86 105 118 119 109  96  85  80",
        " 50  51  51  51  51  51  52  53  56  60  64  67  68  66  61  57  52  48  46  46  47  49  50  50",
    ),
    "BE": _day(
        "195 196 196 195 193 190 185 178 167 152 136 124 122 131 147 167 188 208 221 222 214 204 197 194",
        " 71  70  70  71  73  79  85  84  70  53  37  28  26  33  45  61  78  95 107 108  99  87  78  73",
        " 35  35  35  35  35  35  36  37  40  43  47  50  50  48  44  40  37  34  32  32  32  33  34  35",
    ),
    "IT": _day(
        "312 312 311 309 305 300 291 278 259 235 213 202 207 225 250 274 296 317 334 342 338 326 317 312",
        "108 106 107 108 111 116 117 111  98  84  73  67  70  78  90 102 115 128 140 145 140 128 118 111",
        " 40  40  40  40  40  40  41  43  46  50  54  56  55  52  48  44  41  38  37  36  36  38  39  39",
    ),
    "GB": _day(
        " 92  90  88  88  90  98 140 205 248 262 270 276 284 288 290 288 272 196 108  98  94  92  91  91",
        " 62  60  58  58  60  66  82 104 112 110 106 102 100 100 102 108 118 110  84  76  72  68  65  63",
        " 75  76  76  76  75  72  58  42  32  30  29  28  27  26  26  26  30  46  70  73  74  75  75  75",
    ),
    "US-CAL-CISO": _day(
        "201 229 252 268 270 261 250 243 241 243 243 242 239 234 226 215 196 169 138 112 101 112 138 171",
        " 36  48  62  71  72  63  52  44  40  39  39  39  39  41  43  42  36  26  16   9   6   9  16  25",
        " 55  51  48  46  46  47  48  49  50  50  50  50  50  51  51  53  56  61  66  71  73  71  66  60",
    ),
    "US-NY-NYIS": _day(
        "345 335 324 316 311 307 304 303 304 306 310 312 313 311 307 301 296 294 296 304 316 330 343 349",
        " 57  51  45  41  38  36  35  34  35  37  39  43  44  43  40  37  35  34  35  38  43  50  56  59",
        " 20  21  21  22  22  22  22  22  22  22  22  22  22  22  23  24  24  24  24  23  22  21  20  20",
    ),
    "US-TEX-ERCO": _day(
        "442 458 448 422 396 377 365 358 354 354 357 363 367 368 361 345 321 295 279 279 298 329 367 408",
        " 58  63  58  46  35  27  23  21  19  19  20  22  24  25  25  24  23  21  20  20  22  26  34  46",
        " 33  32  32  34  35  35  35  35  35  35  35  36  36  36  37  39  41  43  44  44  43  40  38  35",
    ),
}
