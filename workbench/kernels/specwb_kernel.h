/* What a candidate in C or C++ includes (or declares alike). It exports, with C linkage,

     int NAME(const specwb_tensor *inputs, int32_t num_inputs, const double *numbers, int32_t num_numbers,
              specwb_tensor *outputs, int32_t num_outputs);

   and returns 0. Inputs are the operator's tensors (those of a list beside each other) and lists of
   integers in the order of its schema, data NULL where one is not given; those that are written in place are written where they are. Numbers are its
   integers, floats and bools in that order; text arguments are not passed. Outputs are contiguous and have the
   expected shapes and dtypes. */
#ifndef SPECWB_KERNEL_H
#define SPECWB_KERNEL_H
#include <stdint.h>

#define SPECWB_MAX_RANK 8

enum specwb_dtype {
  SPECWB_BOOL, SPECWB_UINT8, SPECWB_INT8, SPECWB_INT16, SPECWB_INT32, SPECWB_INT64,
  SPECWB_FLOAT16, SPECWB_BFLOAT16, SPECWB_FLOAT32, SPECWB_FLOAT64
};

typedef struct {
  void *data;
  int32_t dtype;
  int32_t rank;
  int64_t shape[SPECWB_MAX_RANK];
  int64_t strides[SPECWB_MAX_RANK]; /* in elements */
} specwb_tensor;

#endif
