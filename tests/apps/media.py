"""Small media files."""

import io
import shutil
import struct
import subprocess
import wave
import zlib


def png(red: int = 200, green: int = 30, blue: int = 30, size: int = 8) -> bytes:
    """Return a square image of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    rows = (b"\0" + bytes([red, green, blue]) * size) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def wav(seconds: float = 0.1, rate: int = 8000) -> bytes:
    """Return silence."""
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(bytes(2 * int(seconds * rate)))
    return target.getvalue()


def mp4() -> bytes:
    """Return a film, if ffmpeg is there; servers look at what they get only if it is."""
    if shutil.which("ffmpeg") is None:
        return b"no film, but nobody looks"
    source = ["-f", "lavfi", "-i", "color=red:size=16x16:duration=0.2"]
    target = ["-pix_fmt", "yuv420p", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "-"]
    command = ["ffmpeg", "-loglevel", "error", *source, *target]
    return subprocess.run(command, check=True, capture_output=True).stdout
