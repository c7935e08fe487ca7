#include "specwb_kernel.h"
#include <cmath>

// SwiGLU over the last axis of a float32 tensor; other dtypes are refused.
extern "C" int swiglu(const specwb_tensor *in, int32_t, const double *, int32_t, specwb_tensor *out, int32_t) {
  if (in->dtype != SPECWB_FLOAT32 || in->rank != 2) return 7;
  const float *x = static_cast<const float *>(in->data);
  float *y = static_cast<float *>(out->data);
  int64_t rows = in->shape[0], half = in->shape[1] / 2;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < half; ++c) {
      float gate = x[r * 2 * half + c];
      y[r * half + c] = gate / (1.0f + std::exp(-gate)) * x[r * 2 * half + half + c];
    }
  return 0;
}
