"""Parameters of a resumed search."""

from typing import Literal

from flows.params.base import Params, setting
from flows.params.fields import Device

Stage = Literal["calibrate", "design", "validate", "measure", "seal"]


class ResumeParams(Params):
    """A search that is there already, and how far it goes on."""

    run: str | None = setting(
        None, "Name of the search (default: the latest)", metavar="RUN", word=True
    )
    until: Stage | None = setting(
        None,
        "Stop after this stage: calibrate, design (questions asked), validate, measure, or seal "
        "(the winner is not saved yet); default: go on to the end",
    )
    device: Device = setting(
        None,
        "Device of torch to compute on, such as cpu or cuda:1 (default: that which the search was "
        "started with)",
        metavar="NAME",
    )
