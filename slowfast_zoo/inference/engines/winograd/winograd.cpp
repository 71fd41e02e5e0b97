// The mappings of Winograd's F(4, 3), which winograd.py explains: inputs to factors, products to outputs.
//
// Tensors are float32 with the channels last, and their number is a multiple of LANES. The functions of
// time take frames (batch, frames, places, channels), those of space (frames, height, width, channels).
// Factors and products are (tiles, 6 or 36, channels), the tiles in the order of their first output.

#include <algorithm>
#include <cstdint>

#ifdef _WIN32
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C"
#endif

constexpr int LANES = 16, REACH = 6, TILE = 4;

// So many channels, wherever they lie.
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

constexpr float B[REACH][REACH] = {
    {1, -1.5f, -2, 1.5f, 1, 0},
    {0, -1, 0.5f, 2.5f, 1, 0},
    {0, 1, -2.5f, 0.5f, 1, 0},
    {0, -2, -1, 2, 1, 0},
    {0, 0.5f, -1, -0.5f, 1, 0},
    {0, 1, -1.5f, -2, 1.5f, 1},
};

constexpr float A[TILE][REACH] = {
    {1, 1, 1, 1, 1, 0},
    {0, 1, -1, 0.5f, -2, 0},
    {0, 1, 1, 0.25f, 4, 0},
    {0, 1, -1, 0.125f, -8, 1},
};

// Six numbers that lie `step` apart to ROWS sums of them, which go `out_step` apart.
template <int ROWS>
static inline void combine(
    const float (&matrix)[ROWS][REACH], const Lanes* in, int step, Lanes* out, int out_step
) {
#pragma GCC unroll 6
    for (int row = 0; row < ROWS; row++) {
        Lanes sum = matrix[row][1] * in[step];
#pragma GCC unroll 6
        for (int i = 0; i < REACH; i++)
            if (i != 1 && matrix[row][i] != 0) sum += matrix[row][i] * in[i * step];
        out[row * out_step] = sum;
    }
}

static inline Lanes load(const float* from) { return *reinterpret_cast<const Lanes*>(from); }

static inline void store(float* to, Lanes lanes) { *reinterpret_cast<Lanes*>(to) = lanes; }

static inline Lanes activated(Lanes lanes, const float* bias) {
    lanes += load(bias);
    return lanes > 0 ? lanes : Lanes{};
}

EXPORT void factors_over_time(
    const float* x, float* factors, int64_t batch, int64_t frames, int64_t places, int64_t channels
) {
    const int64_t tiles = (frames + TILE - 1) / TILE;
#pragma omp parallel for collapse(2)
    for (int64_t tile = 0; tile < batch * tiles; tile++)
        for (int64_t place = 0; place < places; place++) {
            const int64_t clip = tile / tiles, first = tile % tiles * TILE - 1;
            const float* from = x + ((clip * frames + first) * places + place) * channels;
            float* to = factors + (tile * places + place) * REACH * channels;
            for (int64_t c = 0; c < channels; c += LANES) {
                Lanes in[REACH], out[REACH];
                for (int i = 0; i < REACH; i++) {
                    const bool inside = first + i >= 0 && first + i < frames;
                    in[i] = inside ? load(from + i * places * channels + c) : Lanes{};
                }
                combine(B, in, 1, out, 1);
                for (int i = 0; i < REACH; i++) store(to + i * channels + c, out[i]);
            }
        }
}

EXPORT void outputs_over_time(
    const float* products, const float* bias, float* y,
    int64_t batch, int64_t frames, int64_t places, int64_t channels
) {
    const int64_t tiles = (frames + TILE - 1) / TILE;
#pragma omp parallel for collapse(2)
    for (int64_t tile = 0; tile < batch * tiles; tile++)
        for (int64_t place = 0; place < places; place++) {
            const int64_t clip = tile / tiles, first = tile % tiles * TILE;
            const float* from = products + (tile * places + place) * REACH * channels;
            float* to = y + ((clip * frames + first) * places + place) * channels;
            const int64_t count = std::min<int64_t>(TILE, frames - first);
            for (int64_t c = 0; c < channels; c += LANES) {
                Lanes in[REACH], out[TILE];
                for (int i = 0; i < REACH; i++) in[i] = load(from + i * channels + c);
                combine(A, in, 1, out, 1);
                for (int i = 0; i < count; i++)
                    store(to + i * places * channels + c, activated(out[i], bias + c));
            }
        }
}

EXPORT void factors_over_space(
    const float* x, float* factors, int64_t frames, int64_t height, int64_t width, int64_t channels
) {
    const int64_t rows = (height + TILE - 1) / TILE, columns = (width + TILE - 1) / TILE;
#pragma omp parallel for collapse(3)
    for (int64_t frame = 0; frame < frames; frame++)
        for (int64_t row = 0; row < rows; row++)
            for (int64_t column = 0; column < columns; column++) {
                const int64_t top = row * TILE - 1, left = column * TILE - 1;
                const float* from = x + ((frame * height + top) * width + left) * channels;
                float* to = factors + ((frame * rows + row) * columns + column) * REACH * REACH * channels;
                for (int64_t c = 0; c < channels; c += LANES) {
                    Lanes in[REACH * REACH], half[REACH * REACH], out[REACH];
                    for (int i = 0; i < REACH; i++)
                        for (int j = 0; j < REACH; j++) {
                            const int64_t line = top + i, pixel = left + j;
                            const bool inside = line >= 0 && line < height && pixel >= 0 && pixel < width;
                            const float* place = from + (i * width + j) * channels + c;
                            in[i * REACH + j] = inside ? load(place) : Lanes{};
                        }
                    for (int j = 0; j < REACH; j++) combine(B, in + j, REACH, half + j, REACH);
                    for (int i = 0; i < REACH; i++) {
                        combine(B, half + i * REACH, 1, out, 1);
                        for (int j = 0; j < REACH; j++) store(to + (i * REACH + j) * channels + c, out[j]);
                    }
                }
            }
}

EXPORT void outputs_over_space(
    const float* products, const float* bias, float* y,
    int64_t frames, int64_t height, int64_t width, int64_t channels
) {
    const int64_t rows = (height + TILE - 1) / TILE, columns = (width + TILE - 1) / TILE;
#pragma omp parallel for collapse(3)
    for (int64_t frame = 0; frame < frames; frame++)
        for (int64_t row = 0; row < rows; row++)
            for (int64_t column = 0; column < columns; column++) {
                const int64_t top = row * TILE, left = column * TILE;
                const int64_t tile = (frame * rows + row) * columns + column;
                const float* from = products + tile * REACH * REACH * channels;
                float* to = y + ((frame * height + top) * width + left) * channels;
                const int64_t high = std::min<int64_t>(TILE, height - top);
                const int64_t wide = std::min<int64_t>(TILE, width - left);
                for (int64_t c = 0; c < channels; c += LANES) {
                    Lanes in[REACH], half[TILE * REACH], out[TILE];
                    for (int j = 0; j < REACH; j++) {
                        for (int i = 0; i < REACH; i++) in[i] = load(from + (i * REACH + j) * channels + c);
                        combine(A, in, 1, half + j, REACH);
                    }
                    for (int i = 0; i < high; i++) {
                        combine(A, half + i * REACH, 1, out, 1);
                        for (int j = 0; j < wide; j++)
                            store(to + (i * width + j) * channels + c, activated(out[j], bias + c));
                    }
                }
            }
}
