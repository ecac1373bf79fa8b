"""What the people look like: colors, and outlines that `face` and `portrait` share.

Outlines are written as in SVG. The middle of the face is 0,0 and half its height is 1.
Of symmetric parts only the right half is given.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """The colors of a person."""

    skin: str
    hair: str
    top: str
    collar: str
    iris: str
    lips: str
    long_hair: bool = True


LOOKS = {
    "nathalie": Look("#f6cdb4", "#5b3426", "#2f6f8f", "#f4f6f8", "#4f7f6a", "#cf6a6a"),
    "minseo": Look("#fbd9c0", "#2a2230", "#e58f7b", "#fff4ea", "#4a3328", "#d8716f"),
    "amara": Look("#a8693f", "#231815", "#6b4fa0", "#f2e9d8", "#3b2417", "#9c4a45"),
    "leo": Look(
        "#eebd98",
        "#3d2b1f",
        "#3f7d5c",
        "#f4f6f8",
        "#3f6b94",
        "#c0736a",
        long_hair=False,
    ),
}
# The hair in front of the face: its locks (all clockwise), and where it shines.
LONG_HAIR = (
    [
        ".2,-1.2 .62,-1.1 .93,-.62 1,.1 .99,.75 .86,.9 "
        ".83,.35 .79,-.2 .62,-.55 .3,-.86",
        ".28,-1.2 .3,-.92 .05,-.72 -.45,-.52 -.76,-.22 -.83,.3 "
        "-.85,.88 -.97,.8 -1,.3 -.98,-.4 -.78,-.95 -.3,-1.22",
    ],
    [
        "-.55,-.98 -.78,-.62 -.7,-.6 -.4,-.9 0,-1.08 -.3,-1.1",
        ".55,-.95 .8,-.55 .74,-.5 .45,-.86",
    ],
)
SHORT_HAIR = (
    [
        "-.8,.02 -.9,-.5 -.72,-1 -.2,-1.28 .4,-1.26 .82,-.95 .9,-.45 .81,.02 "
        ".74,-.35 .55,-.62 .1,-.66 -.35,-.56 -.66,-.62 -.74,-.35"
    ],
    ["-.5,-.95 -.1,-1.12 .4,-1.08 0,-.98"],
)
HAIR_BEHIND = "0,-1.24 .55,-1.12 .93,-.6 1,.1 1.04,.8 .98,1.35 .6,1.75 0,1.8"
BODY = "0,1.3 .42,1.34 1,1.56 1.5,1.86 1.76,2.5 1.9,4.2 0,4.6"
NECK = "0,.6 .36,.7 .39,1.15 .55,1.3 .62,1.42 .3,1.9 0,2.2"
THROAT = "0,.6 .37,.75 .36,1.08 0,1.3"
COLLAR = ".4,1.2 .66,1.34 .6,1.62 .02,2.28 .18,1.8 .46,1.42"
SKULL = "0,-1 .46,-.92 .75,-.5 .79,0 .71,.44 .47,.82 .2,.99 0,1.02"
NOSE = "0,.3 .09,.31 .1,.25 .13,.31 .06,.37 -.06,.37 -.12,.31 -.05,.33"
BROW = "-.19,-.287 0,-.35 .2,-.27 .21,-.255 0,-.305 -.18,-.242"
