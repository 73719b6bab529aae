"""Reasons for rejecting a candidate: one code each, with the meaning that the manual prints."""

from enum import StrEnum


class Code(StrEnum):
    """Codes of :class:`sandbox.outcomes.Rejected`; records hold the values, so they are stable."""

    SYNTAX = "syntax"
    SCREEN_SIZE = "screen_size"
    SCREEN_IMPORT = "screen_import"
    SCREEN_NAME = "screen_name"
    SCREEN_ATTRIBUTE = "screen_attribute"
    SCREEN_STATEMENT = "screen_statement"
    BAD_PARAMS = "bad_params"
    NO_SCORE = "no_score"
    NO_PROGRAM = "no_program"
    WRONG_TYPE = "wrong_type"
    WRONG_SHAPE = "wrong_shape"
    WRONG_DTYPE = "wrong_dtype"
    NAN_SCORES = "nan_scores"
    NAN_WEIGHTS = "nan_weights"
    WRONG_BUDGET = "wrong_budget"
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
    Code.SCREEN_IMPORT: "an import other than torch, math and, in a program, toolbox",
    Code.SCREEN_NAME: "a name that is neither defined in the source nor allowed",
    Code.SCREEN_ATTRIBUTE: "an attribute or torch function that is not allowed",
    Code.SCREEN_STATEMENT: "a statement that a scoring function or a program does not need",
    Code.BAD_PARAMS: "a constant in params is not a finite number",
    Code.NO_SCORE: "there is no function score(W, stats, params)",
    Code.NO_PROGRAM: "there is neither prune_layer(W, stats, budget, params) nor prune_block",
    Code.WRONG_TYPE: "something other than a plain, dense torch.Tensor was returned",
    Code.WRONG_SHAPE: "the scores or the new weights do not have the shape of W",
    Code.WRONG_DTYPE: "the scores or the new weights are not float32",
    Code.NAN_SCORES: "a score is NaN or infinite",
    Code.NAN_WEIGHTS: "a new weight is NaN, infinite, or too large for its saved type or the model",
    Code.WRONG_BUDGET: "the zeros miss the budget by more than one in a thousand",
    Code.CONSTANT_SCORES: "too few distinct scores to rank the weights of a layer",
    Code.SCALE_UNSTABLE: "on a quieter or louder layer the scores overflow or collapse",
    Code.NONDETERMINISTIC: "the same input twice gave other scores or other weights",
    Code.DEPENDS_ON_BATCH: "the scores of a layer depend on which layers were scored before it",
    Code.NOT_EQUIVARIANT: "rows or columns in another order gave other scores, not reordered ones",
    Code.MUTATED_INPUT: "the code changed W or a statistic in place",
    Code.EXCEPTION: "the code raised; the detail is the last line of the traceback",
    Code.TIMEOUT: "the time limit passed before all layers were done",
    Code.OOM: "the memory limit was reached",
    Code.KILLED: "the process was ended by a signal that memory and time do not explain",
    Code.CRASHED: "the process crashed (segmentation fault, abort and the like)",
    Code.INCOMPLETE: "the process left before all layers were done",
    Code.OUTPUT_FLOOD: "the code printed more than the output limit",
    Code.LEFTOVER_PROCESSES: "processes were still running after the code returned",
    Code.PROTOCOL: "the code wrote to the channel on which layers are reported",
}


# The property that a metric broke and what was expected; the refusal's detail says what came.
PROPERTIES: dict[Code, tuple[str, str]] = {
    Code.SYNTAX: ("syntax", "Python 3 source"),
    Code.SCREEN_SIZE: ("size", "at most 16 KiB and 4000 terms, nested at most 100 deep"),
    Code.SCREEN_IMPORT: ("imports", "torch, torch.nn.functional, math; programs also toolbox"),
    Code.SCREEN_NAME: ("names", "names defined in the file, plain builtins, torch and math"),
    Code.SCREEN_ATTRIBUTE: ("attributes", "tensor methods and functions of torch and math"),
    Code.SCREEN_STATEMENT: ("statements", "functions with assignments, if, for and return"),
    Code.BAD_PARAMS: ("constants", "finite numbers in params"),
    Code.NO_SCORE: ("signature", "one function score(W, stats, params)"),
    Code.NO_PROGRAM: ("signature", "one function prune_layer or prune_block"),
    Code.WRONG_TYPE: ("type", "a plain, dense torch.Tensor on the device of W"),
    Code.WRONG_SHAPE: ("shape", "one score or new weight per weight: the shape of W"),
    Code.WRONG_DTYPE: ("dtype", "torch.float32"),
    Code.NAN_SCORES: ("finite", "finite scores on every layer"),
    Code.NAN_WEIGHTS: ("finite", "finite weights on every layer"),
    Code.WRONG_BUDGET: ("budget", "as many zeros as the budget says, group by group"),
    Code.CONSTANT_SCORES: ("distinct", "at least 16 distinct scores in a layer"),
    Code.SCALE_UNSTABLE: ("scale", "finite, distinct scores on quiet and loud layers too"),
    Code.NONDETERMINISTIC: ("deterministic", "the same bits when scored again"),
    Code.DEPENDS_ON_BATCH: ("independent", "the same scores whatever was scored before"),
    Code.NOT_EQUIVARIANT: ("order", "scores that move along with rows and columns"),
    Code.MUTATED_INPUT: ("inputs", "W and the statistics as they were"),
    Code.EXCEPTION: ("runs", "a result, no exception"),
    Code.TIMEOUT: ("time", "an answer within the time limit"),
    Code.OOM: ("memory", "less memory than the limit"),
    Code.KILLED: ("runs", "a process that ends by returning"),
    Code.CRASHED: ("runs", "a process that does not crash"),
    Code.INCOMPLETE: ("runs", "a result for every layer"),
    Code.OUTPUT_FLOOD: ("output", "at most 1 MiB printed"),
    Code.LEFTOVER_PROCESSES: ("processes", "no process left behind"),
    Code.PROTOCOL: ("protocol", "nothing written but by print"),
}
