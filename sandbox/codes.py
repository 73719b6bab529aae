"""Why a candidate was turned away: one code each, with the meaning that the manual prints."""

from enum import StrEnum


class Code(StrEnum):
    """Codes of :class:`sandbox.client.Rejected`; the values are stable, records hold them."""

    SYNTAX = "syntax"
    SCREEN_SIZE = "screen_size"
    SCREEN_IMPORT = "screen_import"
    SCREEN_NAME = "screen_name"
    SCREEN_ATTRIBUTE = "screen_attribute"
    SCREEN_STATEMENT = "screen_statement"
    NO_SCORE = "no_score"
    WRONG_TYPE = "wrong_type"
    WRONG_SHAPE = "wrong_shape"
    WRONG_DTYPE = "wrong_dtype"
    NAN_SCORES = "nan_scores"
    CONSTANT_SCORES = "constant_scores"
    SCALE_UNSTABLE = "scale_unstable"
    NONDETERMINISTIC = "nondeterministic"
    DEPENDS_ON_BATCH = "depends_on_batch"
    NOT_EQUIVARIANT = "not_equivariant"
    MUTATED_INPUT = "mutated_input"
    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    OOM = "oom"
    KILLED = "killed"
    CRASHED = "crashed"
    INCOMPLETE = "incomplete"
    OUTPUT_FLOOD = "output_flood"
    LEFTOVER_PROCESSES = "leftover_processes"
    PROTOCOL = "protocol"


MEANINGS: dict[Code, str] = {
    Code.SYNTAX: "the source does not parse as Python",
    Code.SCREEN_SIZE: "the source is too long or nested too deeply",
    Code.SCREEN_IMPORT: "an import other than torch, torch.nn.functional and math",
    Code.SCREEN_NAME: "a name that is neither defined in the source nor allowed",
    Code.SCREEN_ATTRIBUTE: "an attribute or torch function that is not allowed",
    Code.SCREEN_STATEMENT: "a statement that a scoring function does not need",
    Code.NO_SCORE: "there is no function score(W, stats, params)",
    Code.WRONG_TYPE: "score returned something other than a plain, dense torch.Tensor",
    Code.WRONG_SHAPE: "the scores do not have the shape of W",
    Code.WRONG_DTYPE: "the scores are not float32",
    Code.NAN_SCORES: "a score is NaN or infinite",
    Code.CONSTANT_SCORES: "too few distinct scores to rank the weights of a layer",
    Code.SCALE_UNSTABLE: "on a quieter or louder layer the scores overflow or collapse",
    Code.NONDETERMINISTIC: "the same input scored twice gave other scores",
    Code.DEPENDS_ON_BATCH: "the scores of a layer depend on which layers were scored before it",
    Code.NOT_EQUIVARIANT: "rows or columns in another order gave other scores, not reordered ones",
    Code.MUTATED_INPUT: "score changed W or a statistic in place",
    Code.EXCEPTION: "score raised; the detail is the last line of the traceback",
    Code.TIMEOUT: "the time limit passed before all layers were scored",
    Code.OOM: "the memory limit was reached",
    Code.KILLED: "the process was ended by a signal that memory and time do not explain",
    Code.CRASHED: "the process crashed (segmentation fault, abort and the like)",
    Code.INCOMPLETE: "the process left before all layers were scored",
    Code.OUTPUT_FLOOD: "the code printed more than the output limit",
    Code.LEFTOVER_PROCESSES: "processes were still running after score returned",
    Code.PROTOCOL: "the code wrote to the channel on which layers are reported",
}
