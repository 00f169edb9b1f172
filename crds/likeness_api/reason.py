"""One word per thing that a user can act on, and the reaction that its exit code asks for.

Wherever one of these is told (the runtime's result, a condition, an event, a metric's label, docs/troubleshooting.md),
it is the same word.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """What a pod of ours ends with. The Job's podFailurePolicy reacts to the number alone; the operator tells what the
    result says, unless the number contradicts it.
    """

    DONE = 0
    INPUT_WRONG = 10
    NOT_ALLOWED = 11
    SETUP_WRONG = 12
    NUMERICS = 13
    DEVICE_MEMORY = 14
    TRANSIENT_ERROR = 20
    KILLED = 137
    TERMINATED = 143


FINAL_EXIT_CODES = (
    ExitCode.INPUT_WRONG,
    ExitCode.NOT_ALLOWED,
    ExitCode.SETUP_WRONG,
    ExitCode.NUMERICS,
    ExitCode.DEVICE_MEMORY,
)
"""Trying again would end the same way, so the Job fails at once."""


class Reason(StrEnum):
    """All reasons that are our own. Results and events carry no others; a condition that says why a Personalization
    waits, `status.waiting` and the metric of those that wait may carry Kubernetes' or Kueue's own word instead, passed
    on as it is (`Unschedulable`, `ImagePullBackOff`, `Inadmissible`): see waiting.py and workload.py of the operator.
    """

    # The runtime says these.
    TUNED = "Tuned"
    ALREADY_PUBLISHED = "AlreadyPublished"
    SOURCE_NOT_FOUND = "SourceNotFound"
    OUTPUT_NOT_FOUND = "OutputNotFound"
    IMAGE_UNREADABLE = "ImageUnreadable"
    IMAGE_TOO_LARGE = "ImageTooLarge"
    IMAGE_TOO_SMALL = "ImageTooSmall"
    TOO_MANY_IMAGES = "TooManyImages"
    ACCESS_DENIED = "AccessDenied"
    BUCKET_NOT_ALLOWED = "BucketNotAllowed"
    MODEL_NOT_FOUND = "ModelNotFound"
    ENCODER_MISMATCH = "EncoderMismatch"
    INVALID_SPEC = "InvalidSpec"  # the operator says it, too
    BAD_ORDER = "BadOrder"
    DIGEST_MISMATCH = "DigestMismatch"
    LOSS_NOT_FINITE = "LossNotFinite"
    OUT_OF_DEVICE_MEMORY = "OutOfDeviceMemory"
    MODEL_CACHE_UNAVAILABLE = "ModelCacheUnavailable"
    VERSIONS_LEFT = "VersionsLeft"
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    STORAGE_THROTTLED = "StorageThrottled"
    INTERRUPTED = "Interrupted"
    ERASED = "Erased"

    # The runtime says these about a line of a catalogue, or about the whole of it.
    INVALID_LINE = "InvalidLine"
    DUPLICATE_ID = "DuplicateId"
    SOURCE_UNREADABLE = "SourceUnreadable"
    TOO_MANY_FAILED = "TooManyFailed"
    CRASHED_WORKER = "CrashedWorker"
    SUBJECT_TIMED_OUT = "SubjectTimedOut"
    PLANNED = "Planned"
    NOTHING_LEFT = "NothingLeft"
    COLLECTED = "Collected"

    # The operator says these.
    PROFILE_NOT_FOUND = "ProfileNotFound"
    PROFILE_NOT_ALLOWED = "ProfileNotAllowed"
    NO_DEFAULT_PROFILE = "NoDefaultProfile"
    LIMIT_EXCEEDED = "LimitExceeded"
    INVALID_PROFILE = "InvalidProfile"
    TOKEN_MISSING = "TokenMissing"  # noqa: S105 - a reason, not a secret
    PROFILE_MATCHED = "ProfileMatched"
    ENCODER_NAMED = "EncoderNamed"
    NO_ENCODER = "NoEncoder"
    POD_STARTED = "PodStarted"
    POD_PENDING = "PodPending"
    NO_POD = "NoPod"
    STARTING = "Starting"
    RETRY_BACK_OFF = "RetryBackOff"
    QUEUED = "Queued"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    OUT_OF_MEMORY = "OutOfMemory"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    JOB_DELETED = "JobDeleted"
    RESULT_INVALID = "ResultInvalid"
    JOB_NAME_TAKEN = "JobNameTaken"
    TOO_MANY_OBJECTS = "TooManyObjects"
    JOB_REFUSED = "JobRefused"
    QUOTA_EXCEEDED = "QuotaExceeded"
    CONCURRENCY_LIMIT = "ConcurrencyLimit"
    RUNTIME_CRASHED = "RuntimeCrashed"
    FINISHED = "Finished"
    ERASING = "Erasing"
    STILL_RUNNING = "StillRunning"
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    REPORTS_OFF = "ReportsOff"
    READING_SOURCE = "ReadingSource"
    WORKING = "Working"
    COLLECTING = "Collecting"
    WORKERS_FAILING = "WorkersFailing"
    RESULTS_INCOMPLETE = "ResultsIncomplete"
    ON_TRACK = "OnTrack"
    BEHIND = "Behind"


EXIT_CODE_OF: dict[Reason, ExitCode] = {
    Reason.TUNED: ExitCode.DONE,
    Reason.ALREADY_PUBLISHED: ExitCode.DONE,
    Reason.SOURCE_NOT_FOUND: ExitCode.INPUT_WRONG,
    Reason.OUTPUT_NOT_FOUND: ExitCode.INPUT_WRONG,
    Reason.IMAGE_UNREADABLE: ExitCode.INPUT_WRONG,
    Reason.IMAGE_TOO_LARGE: ExitCode.INPUT_WRONG,
    Reason.IMAGE_TOO_SMALL: ExitCode.INPUT_WRONG,
    Reason.TOO_MANY_IMAGES: ExitCode.INPUT_WRONG,
    Reason.INVALID_SPEC: ExitCode.INPUT_WRONG,
    Reason.INVALID_LINE: ExitCode.INPUT_WRONG,
    Reason.DUPLICATE_ID: ExitCode.INPUT_WRONG,
    Reason.SOURCE_UNREADABLE: ExitCode.INPUT_WRONG,
    Reason.TOO_MANY_FAILED: ExitCode.INPUT_WRONG,
    Reason.CRASHED_WORKER: ExitCode.INPUT_WRONG,
    Reason.SUBJECT_TIMED_OUT: ExitCode.INPUT_WRONG,
    Reason.ACCESS_DENIED: ExitCode.NOT_ALLOWED,
    Reason.BUCKET_NOT_ALLOWED: ExitCode.NOT_ALLOWED,
    Reason.MODEL_NOT_FOUND: ExitCode.SETUP_WRONG,
    Reason.ENCODER_MISMATCH: ExitCode.SETUP_WRONG,
    Reason.BAD_ORDER: ExitCode.SETUP_WRONG,
    Reason.DIGEST_MISMATCH: ExitCode.SETUP_WRONG,
    Reason.LOSS_NOT_FINITE: ExitCode.NUMERICS,
    Reason.OUT_OF_DEVICE_MEMORY: ExitCode.DEVICE_MEMORY,
    Reason.MODEL_CACHE_UNAVAILABLE: ExitCode.TRANSIENT_ERROR,
    Reason.VERSIONS_LEFT: ExitCode.NOT_ALLOWED,
    Reason.STORAGE_UNAVAILABLE: ExitCode.TRANSIENT_ERROR,
    Reason.STORAGE_THROTTLED: ExitCode.TRANSIENT_ERROR,
    Reason.INTERRUPTED: ExitCode.TERMINATED,
    Reason.ERASED: ExitCode.DONE,
    Reason.PLANNED: ExitCode.DONE,
    Reason.NOTHING_LEFT: ExitCode.DONE,
    Reason.COLLECTED: ExitCode.DONE,
}
"""The runtime's reasons, each with the exit code that goes with it."""
