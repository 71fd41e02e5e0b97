// The resize that resize.py explains, row by row: every value as OpenCV computes it.

#include <stdint.h>

// Each column and row of the result, as two places in the source and their weights.
typedef struct {
    int64_t rows, width, channels;
    int64_t stride;  // bytes from one row of the source to the next
    int64_t apart;   // bytes from one channel of a pixel to the next
    const int32_t *left, *right, *left_weight, *right_weight;
    const int32_t *upper, *lower, *upper_weight, *lower_weight;
} Plan;

static inline void mix_columns(
    const Plan *plan, int64_t channels, int64_t apart, const uint8_t *row, int16_t *restrict mixed
) {
    for (int64_t x = 0; x < plan->width; x++) {
        const uint8_t *left = row + plan->left[x], *right = row + plan->right[x];
        const int32_t left_weight = plan->left_weight[x], right_weight = plan->right_weight[x];
        for (int64_t c = 0; c < channels; c++) {
            const int32_t sum = left_weight * left[c * apart] + right_weight * right[c * apart];
            mixed[c * plan->width + x] = (int16_t)(sum >> 4);  // 2049 * 255 / 16 at most
        }
    }
}

static void mix_rows(
    int64_t count, const int16_t *above, int16_t above_weight, const int16_t *below, int16_t below_weight,
    uint8_t *restrict out
) {
    for (int64_t x = 0; x < count; x++)
        out[x] = (uint8_t)(((above[x] * above_weight >> 16) + (below[x] * below_weight >> 16) + 2) >> 2);
}

// `out` is (rows, channels, width); `memory` has room for two such rows of 16 bits.
void resize(const Plan *plan, const uint8_t *source, uint8_t *out, int16_t *memory) {
    const int64_t across = plan->channels * plan->width;
    int16_t *mixed[2] = {memory, memory + across};
    int64_t held[2] = {-1, -1};  // the source rows that are mixed already: enlarged pictures share them
    for (int64_t y = 0; y < plan->rows; y++) {
        const int64_t wanted[2] = {plan->upper[y], plan->lower[y]};
        if (held[1] == wanted[0]) {
            int16_t *moved = mixed[1];
            mixed[1] = mixed[0], mixed[0] = moved;
            held[1] = held[0], held[0] = wanted[0];
        }
        for (int i = 0; i < 2; i++)
            if (held[i] != wanted[i]) {
                const uint8_t *row = source + wanted[i] * plan->stride;
                if (plan->channels == 3 && plan->apart == 1)  // numbers that the compiler knows
                    mix_columns(plan, 3, 1, row, mixed[i]);
                else
                    mix_columns(plan, plan->channels, plan->apart, row, mixed[i]);
                held[i] = wanted[i];
            }
        const int16_t above = (int16_t)plan->upper_weight[y], below = (int16_t)plan->lower_weight[y];
        mix_rows(across, mixed[0], above, mixed[1], below, out + y * across);
    }
}
