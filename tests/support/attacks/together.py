"""Candidates that may share a container: what they do ends with their own process.

All others have one of their own: what ends, fills or slows a container, or leaves in it a process,
a flag of the result's descriptor or a forged record; what two containers must agree about; and a
few of each kind that could share, such as the first crash and the first thing returned.
"""

from tests.support.attacks.table import Attack

_TOGETHER = (
    "101 103 105 106 112 114 118 120 132 134 135 136 138 144 145 146 147 148 149 150 151 152 153 "
    "154 155 162 163 164 165 166 167 168 169 170 171 172 173 174 175 176 177 178 179 180 181 182 "
    "183 184 185 186 192 194 197 198 199 200 202 203 211 212 213 214 215 216 218 224 225 226 229 "
    "301 302 303 304 305 306 308 311 312 326 327 334 335 336 341 342 343 344 345 346 348 349 350 "
    "364 365 366 367 370 371 372 373 382 383 384 385 386 387 391 392 393 394 395 397"
)


def shares(attack: Attack) -> bool:
    """Whether an attack gets the container of others; a new one does not until it is listed."""
    return attack.name[:3] in _TOGETHER.split()
