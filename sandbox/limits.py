"""Every limit of a container, in one table."""

from pydantic import BaseModel, ConfigDict, Field

MIB = 1 << 20


class Limits(BaseModel):
    """Limits of one container and of one job; the defaults suit layers up to a few 100 MB.

    Memory counts the torch runtime (192 MiB measured), the scores of one layer and temporaries;
    it grows by ``memory_per_input`` times the largest input of a job.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    probe_s: float = Field(default=10, gt=0, description="Wall clock of a probing run, seconds.")
    score_s: float = Field(default=300, gt=0, description="Wall clock of a scoring run, seconds.")
    grace_s: float = Field(default=2, gt=0, description="Host waits this much longer, seconds.")
    start_s: float = Field(default=60, gt=0, description="Start until ready, seconds.")
    lifetime_s: float = Field(default=3600, gt=0, description="A container ends itself after.")
    memory_bytes: int = Field(default=768 * MIB, ge=192 * MIB, description="Base memory, no swap.")
    memory_per_input: float = Field(default=5, ge=1, description="Times the largest input file.")
    cpus: float = Field(default=1, gt=0, description="CPU share; threads of torch are a job's own.")
    pids: int = Field(default=64, ge=8, description="Processes and threads.")
    open_files: int = Field(default=64, ge=16, description="Open descriptors of the child.")
    output_bytes: int = Field(default=MIB, ge=4096, description="Printed bytes, then ended.")
    warm: int = Field(default=3, ge=0, description="Kept ready; 0: made when asked for.")
    jobs_at_once: int = Field(default=0, ge=0, description="0 means cores - 1, at least 1.")
    distinct_scores: int = Field(default=16, ge=2, description="Distinct scores, per probe layer.")
    syscall_filter: bool = Field(default=True, description="Inner filter of the child.")
    runtime: str | None = Field(default=None, description="OCI runtime, for example runsc.")
    gpus: tuple[str, ...] = Field(default=(), description="GPU ids handed in, for example 0.")
