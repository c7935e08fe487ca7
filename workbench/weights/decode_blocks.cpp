// Decodes blocks of a container in ENEC's code: workbench/weights/grouped.py is the law, this is its speed.
#include <cstdint>
#include <cstring>

namespace {

constexpr int64_t kMost = 16384;  // elements of the largest block
constexpr int64_t kGroup = 16;

// Word j of the source holds bytes j and j + half.
void unpair(const uint8_t* __restrict source, uint8_t* __restrict out, int64_t count) {
  const int64_t half = count / 2;
  for (int64_t i = 0; i < half; ++i) {
    out[i] = source[2 * i];
    out[half + i] = source[2 * i + 1];
  }
}

void unfold(const uint8_t* __restrict source, uint8_t* __restrict out, int64_t count, int shift) {
  const uint8_t mask = static_cast<uint8_t>((1 << shift) - 1);
  for (int64_t i = 0; i < count; ++i) {
    out[i] = source[i] & mask;
    out[count + i] = source[i] >> shift;
  }
}

// count numbers of three bits: lanes of twelve bits, their lower eight as bytes, their upper four folded.
void split_lanes(const uint8_t* __restrict low, const uint8_t* __restrict high, uint8_t* __restrict out,
                 int64_t count) {
  const int64_t quarter = count / 4, eighth = count / 8;
  for (int64_t half = 0; half < 2; ++half) {
    const int shift = half ? 4 : 0;
    const uint8_t* __restrict lower = low + half * eighth;
    uint8_t* __restrict first = out + half * eighth;
    uint8_t* __restrict second = first + quarter;
    uint8_t* __restrict third = second + quarter;
    uint8_t* __restrict fourth = third + quarter;
    for (int64_t i = 0; i < eighth; ++i) {
      const uint8_t byte = lower[i];
      const uint8_t upper = (high[i] >> shift) & 15;
      first[i] = byte & 7;
      third[i] = (byte >> 3) & 7;
      second[i] = static_cast<uint8_t>((byte >> 6) | ((upper & 1) << 2));
      fourth[i] = (upper >> 1) & 7;
    }
  }
}

// count numbers of `bits` bits each; `out` and `spare` have room for all of them.
void unpack(const uint8_t* source, uint8_t* out, uint8_t* spare, int64_t count, int bits) {
  if (bits == 3) {
    const int64_t quarter = count / 4, eighth = count / 8;
    unpair(source, spare, quarter + eighth);
    split_lanes(spare, spare + quarter, out, count);
    return;
  }
  int64_t have = count * bits / 8;
  const int folds = bits == 4 ? 1 : bits == 2 ? 2 : 3;
  uint8_t* from = folds % 2 ? spare : out;
  uint8_t* to = folds % 2 ? out : spare;
  unpair(source, from, have);
  for (int shift = 4; shift >= bits; shift /= 2) {
    unfold(from, to, have, shift);
    have *= 2;
    uint8_t* swap = from;
    from = to;
    to = swap;
  }
}

template <int kSigned>
inline uint16_t exponent(uint8_t number, int base) {
  constexpr int sign = 1 << (kSigned - 1);
  return static_cast<uint16_t>(base - ((number ^ sign) - sign));
}

template <int kBits>
void join_byte(const uint8_t* __restrict raw, const uint8_t* __restrict numbers, uint16_t* __restrict out,
               int64_t count, int base) {
  const int64_t half = count / 2;
  for (int64_t i = 0; i < half; ++i) {
    const uint16_t one = static_cast<uint16_t>(exponent<kBits>(numbers[i], base) | (raw[2 * i] << 8));
    const uint16_t two =
        static_cast<uint16_t>(exponent<kBits>(numbers[half + i], base) | (raw[2 * i + 1] << 8));
    out[i] = static_cast<uint16_t>((one << 7) | (one >> 9));
    out[half + i] = static_cast<uint16_t>((two << 7) | (two >> 9));
  }
}

template <int kBits>
void join_half(const uint8_t* __restrict flat, const uint8_t* __restrict upper,
               const uint8_t* __restrict numbers, uint16_t* __restrict out, int64_t count, int base) {
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t eleven = static_cast<uint16_t>(flat[i] | (upper[i] << 8));
    const uint16_t word = static_cast<uint16_t>(exponent<kBits>(numbers[i], base) | (eleven << 5));
    out[i] = static_cast<uint16_t>((word << 10) | (word >> 6));
  }
}

struct Scratch {
  uint8_t numbers[kMost], spare[2 * kMost], high[kMost], upper[kMost];
  uint16_t words[kMost];
  int32_t chosen[kMost / kGroup];
};

template <int kBits>
void join(const uint8_t* raw, int layout, int64_t count, int base, Scratch* s, void* out, int64_t wanted) {
  uint16_t* target = s->words;
  if (layout == 1) {
    unpair(raw, s->spare, count + count / 4 + count / 8);
    split_lanes(s->spare + count, s->spare + count + count / 4, s->upper, count);
    join_half<kBits>(s->spare, s->upper, s->numbers, target, count, base);
    std::memcpy(out, target, static_cast<size_t>(2 * wanted));
    return;
  }
  const int64_t low = layout == 2 ? 2 * count : 0;
  join_byte<kBits>(raw + low, s->numbers, target, count, base);
  if (layout == 0) {
    std::memcpy(out, target, static_cast<size_t>(2 * wanted));
    return;
  }
  uint32_t* words = static_cast<uint32_t*>(out);
  const int64_t half = count / 2;
  for (int64_t i = 0; i < wanted; ++i) {
    const int64_t lane = i < half ? 4 * i : 4 * (i - half) + 2;
    uint16_t lower;
    std::memcpy(&lower, raw + lane, 2);
    words[i] = (static_cast<uint32_t>(target[i]) << 16) | lower;
  }
}

}  // namespace

// Returns 0, or 1 + the block whose size is not what its mask asks for.
extern "C" int64_t specwb_decode_blocks(const uint8_t* const* blocks, const int64_t* sizes, int64_t num_blocks,
                                        int64_t num_elements, int32_t layout, int32_t base, int32_t num_bits,
                                        int32_t low_bits, uint8_t* out) {
  const int64_t count = (num_elements + 255) / 256 * 256;
  if (count > kMost || num_bits < 1 || num_bits > 8 || low_bits < 1 || low_bits > 4) return 1;
  const int64_t raw = count * (layout == 0 ? 8 : layout == 1 ? 11 : 24) / 8;
  const int64_t low = count * low_bits / 8, mask = count / kGroup / 8;
  const int64_t width = layout == 2 ? 4 : 2;
  const int high_bits = num_bits - low_bits;
  static thread_local Scratch scratch;
  Scratch* s = &scratch;
  for (int64_t block = 0; block < num_blocks; ++block) {
    const uint8_t* source = blocks[block];
    const int64_t fixed = raw + low + mask;
    if (sizes[block] < fixed) return 1 + block;
    unpack(source + raw, s->numbers, s->spare, count, low_bits);
    int64_t num_chosen = 0;
    const uint8_t* bits = source + raw + low;
    for (int64_t byte = 0; byte < mask; ++byte)
      for (unsigned left = bits[byte]; left; left &= left - 1)
        s->chosen[num_chosen++] = static_cast<int32_t>(8 * byte + __builtin_ctz(left));
    if (sizes[block] != fixed + num_chosen * kGroup * high_bits / 8) return 1 + block;
    if (high_bits && num_chosen) {
      unpack(source + fixed, s->high, s->spare, kGroup * num_chosen, high_bits);
      const int64_t groups = count / kGroup;
      for (int64_t row = 0; row < kGroup; ++row) {
        uint8_t* numbers = s->numbers + row * groups;
        const uint8_t* values = s->high + row * num_chosen;
        for (int64_t i = 0; i < num_chosen; ++i)
          numbers[s->chosen[i]] |= static_cast<uint8_t>(values[i] << low_bits);
      }
    }
    uint8_t* target = out + block * num_elements * width;
    switch (num_bits) {
      case 1: join<1>(source, layout, count, base, s, target, num_elements); break;
      case 2: join<2>(source, layout, count, base, s, target, num_elements); break;
      case 3: join<3>(source, layout, count, base, s, target, num_elements); break;
      case 4: join<4>(source, layout, count, base, s, target, num_elements); break;
      case 5: join<5>(source, layout, count, base, s, target, num_elements); break;
      case 6: join<6>(source, layout, count, base, s, target, num_elements); break;
      case 7: join<7>(source, layout, count, base, s, target, num_elements); break;
      default: join<8>(source, layout, count, base, s, target, num_elements); break;
    }
  }
  return 0;
}
