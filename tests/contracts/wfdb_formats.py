"""Writes WFDB signal files sample by sample, after the layouts of the format's manual.

https://physionet.org/physiotools/wag/signal-5.htm. Nothing of the reader or of wfdb is used.
"""

BITS = {"16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16}
BITS |= {"212": 12, "310": 10, "311": 10}


def limits(format):
    """The lowest and highest sample; the lowest number of a format means that there is none."""
    return -(1 << (BITS[format] - 1)) + 1, (1 << (BITS[format] - 1)) - 1


def encoded(samples, format):
    """The bytes of samples in the order in which they are stored."""
    samples = [int(sample) for sample in samples]
    if format in ("16", "24", "32"):
        size = BITS[format] // 8
        return b"".join(s.to_bytes(size, "little", signed=True) for s in samples)
    if format == "61":
        return b"".join(s.to_bytes(2, "big", signed=True) for s in samples)
    if format == "80":
        return bytes(s + 128 for s in samples)
    if format == "160":
        return b"".join((s + 32768).to_bytes(2, "little") for s in samples)
    return {"212": _pairs, "310": _triples_310, "311": _triples_311}[format](samples)


def _pairs(samples):
    """12 bits each: the first one's upper four are the low half of the second byte."""
    out = bytearray()
    for first in range(0, len(samples), 2):
        pair = [s % 4096 for s in samples[first : first + 2]]
        out += bytes([pair[0] & 255, pair[0] >> 8])
        if len(pair) == 2:
            out[-1] |= pair[1] >> 8 << 4
            out.append(pair[1] & 255)
    return bytes(out)


def _triples_310(samples):
    """Two words with a sample from bit 1 on, and five bits of the third in the upper five."""
    out = bytearray()
    for first in range(0, len(samples), 3):
        one, two, three = ([s % 1024 for s in samples[first : first + 3]] + [0, 0])[:3]
        words = [one << 1 | (three & 31) << 11, two << 1 | three >> 5 << 11]
        out += b"".join(word.to_bytes(2, "little") for word in words)
    return bytes(out)


def _triples_311(samples):
    """Three samples of ten bits from the lowest bit of four bytes on."""
    out = bytearray()
    for first in range(0, len(samples), 3):
        triple = [s % 1024 for s in samples[first : first + 3]]
        word = sum(value << 10 * place for place, value in enumerate(triple))
        out += word.to_bytes(4, "little")
    return bytes(out)


def checksum(samples):
    return (sum(int(s) for s in samples) + 32768) % 65536 - 32768


def write_record(folder, name, signals, format, gain="1/mV", per_frame=None, head=b""):
    """A record of whole numbers: {channel: samples}, each frame one or `per_frame` of them."""
    folder.mkdir(exist_ok=True, parents=True)
    per_frame = per_frame or [1] * len(signals)
    rows = [list(samples) for samples in signals.values()]
    frames = len(rows[0]) // per_frame[0]
    stored = [
        sample
        for frame in range(frames)
        for row, own in zip(rows, per_frame, strict=True)
        for sample in row[frame * own : (frame + 1) * own]
    ]
    (folder / f"{name}.dat").write_bytes(head + encoded(stored, format))
    offset = f"+{len(head)}" if head else ""
    lines = [f"{name} {len(rows)} 100 {frames}"]
    for (channel, samples), own in zip(signals.items(), per_frame, strict=True):
        kind = format + (f"x{own}" if own > 1 else "") + offset
        lines.append(f"{name}.dat {kind} {gain} 16 0 {samples[0]} {checksum(samples)} 0 {channel}")
    header = folder / f"{name}.hea"
    header.write_text("\n".join(lines) + "\n")
    return header
