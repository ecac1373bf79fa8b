"""eSpeak NG, a library that reads texts in real words."""

import ctypes
import io
import unicodedata
import wave
from typing import Any

# The constants of the library's speak_lib.h
SYNCHRONOUS = 2
DONT_EXIT = 0x8000
IN_CHARACTERS = 1
IS_UTF8 = 1
END_PAUSE = 0x1000
SPEED = 1
VOLUME = 2

WORDS_PER_MINUTE = 145
VOLUME_PERCENT = 60
# Numbers and signs may take very long; what is longer is cut.
MAX_SECONDS = 180

USUAL_VOICE = "en-us+f3"
# The first word of a letter's name in Unicode → the voice of texts with such letters.
# Japanese has Chinese letters too, so it comes first.
VOICES = {
    "HIRAGANA": "ja+f3",
    "KATAKANA": "ja+f3",
    "HANGUL": "ko+f3",
    "CJK": "cmn+f3",
}

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def voice_for(text: str) -> str:
    """Return the voice for the language that the letters of a text belong to."""
    scripts = {unicodedata.name(letter, "").split(" ")[0] for letter in text}
    for script, voice in VOICES.items():
        if script in scripts:
            return voice
    return USUAL_VOICE


class Espeak:
    """Reads one text at a time: the library has one state for the whole process."""

    def __init__(self, library: str, data: str) -> None:
        """Load the library; raise OSError if that or its data cannot be used."""
        self._library = ctypes.CDLL(library)
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        path = data.encode()
        self._rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, path, DONT_EXIT)
        if self._rate <= 0:
            raise OSError(f"eSpeak NG cannot use its data in {data}")
        self._library.espeak_SetParameter(SPEED, WORDS_PER_MINUTE, 0)
        self._library.espeak_SetParameter(VOLUME, VOLUME_PERCENT, 0)
        self._sound = bytearray()
        self._callback = _Callback(self._take)

    def _take(self, samples: Any, count: int, events: Any) -> int:
        """Keep samples; return 1 to end the reading."""
        if samples and count > 0:
            self._sound += ctypes.string_at(samples, 2 * count)
        return int(len(self._sound) > 2 * self._rate * MAX_SECONDS)

    def read(self, text: str) -> bytes:
        """Return a WAV file of a text; raise OSError if it cannot be read."""
        content = text.replace("\0", " ").encode(errors="replace")
        self._sound.clear()
        # Set each time, since another instance may have set its own since.
        self._library.espeak_SetSynthCallback(self._callback)
        failure = self._library.espeak_SetVoiceByName(voice_for(text).encode())
        failure = failure or self._library.espeak_Synth(
            content,
            len(content) + 1,
            0,
            IN_CHARACTERS,
            0,
            IS_UTF8 | END_PAUSE,
            None,
            None,
        )
        if failure:
            raise OSError(f"eSpeak NG answered with the error {failure}")
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(self._rate)
            out.writeframes(self._sound)
        return file.getvalue()
