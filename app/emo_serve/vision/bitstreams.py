"""Sizes and number of pictures in AV1 and HEVC bitstreams, from the headers of the code itself."""

from emo_serve.errors import ImageUndecodable

_LOOKED_AT = 512  # bytes of a header that are read
_MAX_UNITS = 4096

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_PARAMETER_SET, _FIRST_NON_PICTURE = 33, 32


class _Bits:
    """A bit reader, most significant bit first; returns zeros behind the end."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data[:_LOOKED_AT].ljust(_LOOKED_AT, b"\0"), "big")
        self._left = 8 * _LOOKED_AT

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise _broken()
        return self._number >> self._left & (1 << count) - 1

    def exp_golomb(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def _broken() -> ImageUndecodable:
    return ImageUndecodable("The image cannot be decoded, it is truncated or broken (its code has no header).")


def read_av1(code: bytes) -> tuple[tuple[int, int], int]:
    """(width, height) of the largest picture in ``code``, and the number of pictures; raises ImageUndecodable."""
    sizes, frames, position = [], 0, 0
    for _ in range(_MAX_UNITS):
        if position >= len(code):
            break
        head = code[position]
        kind, has_extension, has_length = head >> 3 & 15, head >> 2 & 1, head >> 1 & 1
        position += 1 + has_extension
        length = len(code) - position
        if has_length:
            length, position = _leb128(code, position)
        if kind == _SEQUENCE_HEADER:
            sizes.append(_av1_size(code[position : position + _LOOKED_AT]))
        frames += kind in (_FRAME_HEADER, _FRAME)
        position += length
    else:
        raise _broken()
    return _largest(sizes), frames


def _leb128(code: bytes, position: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and the position behind it."""
    value = 0
    for index, byte in enumerate(code[position : position + 8]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise _broken()


def _av1_size(header: bytes) -> tuple[int, int]:
    bits = _Bits(header)
    bits.take(4)  # profile, still picture
    if bits.take(1):  # the reduced header of still pictures
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            bits.exp_golomb()
        if bits.take(1):  # decoder model
            delay_bits = bits.take(5) + 1
            bits.take(42)
    has_delays = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_delays and bits.take(1):
            bits.take(4)


def read_hevc(configuration: bytes, code: bytes) -> tuple[tuple[int, int], int]:
    """(width, height) of the largest picture in ``code``, and the number of pictures; raises ImageUndecodable.

    ``configuration`` is the content of the hvcC box, which holds parameter sets that are not in the code.
    """
    sizes = [_hevc_size(unit) for unit in _configured(configuration) if unit[0] >> 1 & 63 == _PARAMETER_SET]
    length_size = (configuration[21:22] or b"\3")[0] % 4 + 1
    position = pictures = 0
    for _ in range(_MAX_UNITS):
        if position + length_size + 2 >= len(code):
            break
        length = int.from_bytes(code[position : position + length_size], "big")
        position += length_size
        kind = code[position] >> 1 & 63
        if kind == _PARAMETER_SET:
            sizes.append(_hevc_size(code[position : position + _LOOKED_AT]))
        pictures += kind < _FIRST_NON_PICTURE and code[position + 2] >> 7  # the first slice of a picture
        position += length
    else:
        raise _broken()
    return _largest(sizes), pictures


def _configured(configuration: bytes) -> list[bytes]:
    units, position = [], 23
    for _ in range((configuration[22:23] or b"\0")[0]):
        count = int.from_bytes(configuration[position + 1 : position + 3], "big")
        position += 3
        for _ in range(min(count, 64)):
            length = int.from_bytes(configuration[position : position + 2], "big")
            if length > 2:
                units.append(configuration[position + 2 : position + 2 + length][:_LOOKED_AT])
            position += 2 + length
    return [unit for unit in units if unit]


def _hevc_size(unit: bytes) -> tuple[int, int]:
    bits = _Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 96)  # profile, tier and level
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.take(2 * (8 - layers))
    for has_profile, has_level in present:
        bits.take(88 * has_profile + 8 * has_level)
    bits.exp_golomb()
    if bits.exp_golomb() == 3:  # 4:4:4
        bits.take(1)
    return bits.exp_golomb(), bits.exp_golomb()


def _largest(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    if not sizes:
        raise _broken()
    return max(width for width, _ in sizes), max(height for _, height in sizes)
