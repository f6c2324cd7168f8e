// One kernel file compiled for the host: -DKERNELS="NAME.cu". It lies in a namespace of its own, because helper functions
// and structs of two files may bear the same name; what kernels include must therefore be included here first.
#include "../philox.cuh"
#include "selftest.h"

namespace {
#include KERNELS
}
