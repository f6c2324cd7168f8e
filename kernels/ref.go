package kernels

// refFloat is what the oracles are generic over. They compute in float64 and round once, when a result is stored.
type refFloat interface{ float32 | float64 }
