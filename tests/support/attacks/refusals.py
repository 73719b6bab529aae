"""How each attempt is refused, exactly, and where it is shown to do something.

An error of another kind than the wall's own is a mistake in the attempt and fails the test. Beside
that every attempt is made where nothing holds it (``unconfined``), where something else must
come out: as an ordinary user of the host, or, where the kernel refuses such a user by itself, as
root in namespaces of its own.
"""

from collections.abc import Iterable

# With the inner filter, by the first four letters of the name; each call (c) not named: EPERM.
_REFUSED = {
    "DistStoreError": "f099",
    "EACCES": (
        "a012 a013 a014 a015 a016 a017 a033 a048 a058 a064 a085 a086 a087 a100 a101 a102 "
        "a120 a121 a122 a123 a124 a125 a126 a128 a131 a149 a150 a157 a166"
    ),
    "EACCES+EINVAL": "a127",
    "EACCES+EINVAL+ENOENT+EROFS": "a107",
    "EACCES+ENOENT": "a024 a027",
    "EACCES+ENOENT+EROFS": "a041 a043 a056",
    "EACCES+ENOENT+nothing": "a130",
    "EACCES+EROFS": "a042 a044 a045 a164",
    "EBADF": "a034 f114",
    "EFBIG": "a052",
    "ENOENT": "a021 a022 a023 a026 a030 a105 a135 a139 a148",
    "ENOENT+ENXIO": "a138",
    "ENOENT+EROFS": "a040 a057 a134 a152",
    "ENOENT+nothing": "a025 a132 a137",
    "EPERM": (
        "a001 a003 a004 a005 a006 a008 a009 a010 a018 a019 a020 a046 a047 a050 a051 a053 "
        "a055 a060 a061 a062 a063 a065 a067 a070 a071 a072 a073 a074 a075 a076 a077 a078 "
        "a079 a080 a081 a082 a083 a104 a136 a151 a154 a155 a156 a158 a160 a162 a163 f090 "
        "f091 f092 f093 f094 f095 f096 f097 f098 f110 f111 f112 f113 f115 f116"
    ),
    "EROFS": "a141 a165",
    "OSError": "a153",
    "RuntimeError": "a049",
    "ValueError": "a054 a108",
    "gaierror": "a002",
    "nothing": (
        "a007 a011 a028 a029 a031 a032 a035 a036 a066 a068 a069 a088 a089 a103 a106 a133 "
        "a140 a142 a143 a144 a145 a146 a147 a159 a161"
    ),
}

# Where Docker's walls alone answer otherwise; what is got there is what the inner filter takes.
_WITHOUT_FILTER = {
    "ENOSYS": "c031 c041 c042 c052 c077 c078 c101",
    "got": "c054 c074 c112 f092 f098",
}

# These end the process where nothing stops them.
_ONLY_WITH_FILTER = "f094 f114"

# An ordinary user is refused these in the same way.
_AS_ROOT = (
    "a004 a018 a019 a020 a061 a063 a067 a074 a078 a081 a082 a083 c010 c023 c027 c028 "
    "c064 c078 c084 c092 c093 c094 c095 c096 c097 c098 c100 c101 c144 c147 c149 c150 "
    "c155 c156 c157 c158 c165 c175 f095 f096 a012 a013 a014 a015 a016 a017 a064 a085 "
    "a120 a121 a122 a123 a124 a125 a126 a166 a024 a127"
)

# Shown by the exact error alone, for the reason given.
UNCONTROLLED = {
    "a002": "a host without a name server gives the same error",
    "a054": "Python has one error for every refused limit",
    "a128": "written as root these change the host; that none is missing shows that all were tried",
}
# What a mistake in the code of an attempt looks like.
MISTAKES = frozenset(
    {
        "AttributeError",
        "ImportError",
        "IndexError",
        "KeyError",
        "LookupError",
        "ModuleNotFoundError",
    }
    | {"NameError", "SyntaxError", "TypeError", "UnboundLocalError", "ended"}
)


def expected(names: Iterable[str], *, syscall_filter: bool) -> dict[str, str]:
    """Outcome of each attempt that is made behind these walls."""
    by_code = {code: kind for kind, codes in _REFUSED.items() for code in codes.split()}
    skipped: set[str] = set()
    if not syscall_filter:
        others = _WITHOUT_FILTER.items()
        by_code |= {code: kind for kind, codes in others for code in codes.split()}
        skipped = set(_ONLY_WITH_FILTER.split())
    return {
        name: by_code[name[:4]] if name[0] != "c" else by_code.get(name[:4], "EPERM")
        for name in sorted(names)
        if name[:4] not in skipped
    }


def control(name: str) -> str:
    """Who makes an attempt where nothing holds it: ``user``, ``root`` or nobody, an empty text."""
    if name[:4] in UNCONTROLLED:
        return ""
    return "root" if name[:4] in _AS_ROOT.split() else "user"
