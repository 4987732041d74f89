"""What a program needs to be stopped, moved and resumed by Gridbroker. Standard library only; without Gridbroker it runs plainly.

    job = Job()
    state = load(job.resume_from) if job.resume_from else State()
    for step in job.steps(total, start=state.step):
        train_one(state)
        job.progress(step, total)
        if job.should_checkpoint(step, every=100) or job.should_stop:
            job.commit(step, lambda folder: state.save(folder / "state.bin"))
    job.exit_if_stopped()

The contract underneath: SIGTERM asks to checkpoint and exit with 75 ("resume me"), SIGUSR1 to checkpoint and go on. A checkpoint
counts only once `step-N/COMMITTED` exists, so a crash at any moment leaves the one before intact.
"""

from gridbroker_job._commit import COMMITTED, commit, manifest_sha256
from gridbroker_job._job import EXIT_RESUME_ME, Job

__all__ = ["COMMITTED", "EXIT_RESUME_ME", "Job", "commit", "manifest_sha256"]
