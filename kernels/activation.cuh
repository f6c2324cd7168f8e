// The non-linearities and their derivatives, for activation.cu and for the epilogues of gemm.cu. Their forms are those of
// activation_ref.go: none cancels at negative x.
#pragma once
#include "device.cuh"

namespace activation {

enum { NONE, GELU_ERF, GELU_TANH, SILU, RELU };

constexpr float SLOPE = 0.7978845608f, CUBE = 0.044715f; // sqrt(2/pi); GELU's tanh form

CUK float sigmoid(float x)
{
	float e = fexp(-fabs1(x)); // at most 1: no infinity between
	return (x < 0 ? e : 1) / (1 + e);
}

CUK float value(int act, float x)
{
	switch (act) {
	case GELU_ERF:
		return x * fnormcdf(x);
	case GELU_TANH:
		return x * sigmoid(2 * SLOPE * (x + CUBE * x * x * x));
	case SILU:
		return x * sigmoid(x);
	case RELU:
		return x <= 0 ? 0 : x;
	}
	return x;
}

CUK float slope(int act, float x)
{
	switch (act) {
	case GELU_ERF:
		return fnormcdf(x) + x * fexp(-0.5f * x * x) * 0.3989422804f;
	case GELU_TANH: {
		float s = sigmoid(2 * SLOPE * (x + CUBE * x * x * x));
		return s + x * s * (1 - s) * 2 * SLOPE * (1 + 3 * CUBE * x * x);
	}
	case SILU: {
		float s = sigmoid(x);
		return s + x * s * (1 - s);
	}
	case RELU:
		return x <= 0 ? 0 : 1;
	}
	return 1;
}

} // namespace activation
