// Package kernels holds every operation that touches numbers in a training step, one family a file set: NAME_ref.go is
// the plain oracle, generic over float32 and float64; NAME_cpu.go and NAME_cpu.c are the fast CPU path. All of them stand
// behind one interface, Backend, and every implementation of it must pass the compliance suite of this package's tests.
//
// Letters for shapes: N packed tokens of a step, C model width, H heads, K key/value heads, D head width, F feed-forward
// width, V vocabulary, R rows that bear a loss. Matrices are row-major. Weights of linear layers are [out, in].
//
// Ops are queued in order and may run asynchronously; Sync waits and returns the first failure. Arguments that do not
// fit each other are mistakes of the program and panic with the op's name. Gradients of parameters are always added to
// what the buffer holds; gradients of activations are written, or added where an op says so.
//
// Results are functions of the arguments alone: work is split by shape, never by the number of workers.
package kernels

import "gorgonia.org/tensor"

// Info says what a backend is, for logs, checkpoints and `doctor`.
type Info struct {
	Name     string // "cpu", "ref32", "ref64", ...
	Device   string // processor or GPU
	Products string // who computes matrix products, with version and core type
	Threads  int
	Compute  DType // activations and the weights that products read
	Master   DType // parameters, their gradients and the optimiser's moments
	Notes    []string
}

// Backend is one device with its memory and every op.
type Backend interface {
	Info() Info

	// Alloc returns zeroed memory that lives as long as the backend. Not for use in a step.
	Alloc(t DType, n int) Buf
	// Upload copies host data to dst from its start: []float32 and []float64 convert to a floating dst of another type,
	// []int32 and []uint8 need their own type.
	Upload(dst Buf, src any)
	// Download copies src into host data of at least its length, converting like Upload, after all queued work.
	Download(dst any, src Buf)
	// DownloadLater begins to copy src, float64, to dst at this point of the queue. dst holds it once wait has returned nil, and
	// must not be touched before.
	DownloadLater(dst []float64, src Buf) (wait func() error)
	// Tensor is the shaped handle over a floating buffer, whose memory it shares; on a device its engine lends nothing to the
	// host. An absent result is a failure that Sync tells.
	Tensor(b Buf, shape ...int) *tensor.Dense
	Zero(b Buf)
	Copy(dst, src Buf)
	Sync() error
	Close()

	// Embed writes out[i] = tokens[ids[i]] + positions[pos[i][0]] + types[0] for n rows of width C; positions and types may
	// be absent. ids is int32 [n], pos int32 [n,2].
	Embed(out, ids, pos, tokens, positions, types Buf, n, C int)
	// EmbedBackward adds the gradient of Embed to dtokens, dpositions and dtypes (absent ones are skipped).
	EmbedBackward(dtokens, dpositions, dtypes, dout, ids, pos Buf, n, C int)

	// AddNorm is the residual addition fused with the norm after it.
	AddNorm(a AddNorm)
	// NormBackward is the gradient of the norm in AddNorm with respect to the sum (its residual) and to gain and bias.
	NormBackward(a NormBackward)

	// Linear computes y[n,out] = act(x[n,in] weight[out,in]^T + bias); bias may be absent. With an activation, pre[n,out]
	// receives the value before it when given (training needs it).
	Linear(y, x, weight, bias, pre Buf, n, in, out int, act Activation)
	// LinearBackwardInput computes dx[n,in] = (dy[n,out] weight[out,in]) * act'(pre[n,in]), where act is the activation that
	// produced this layer's input from pre (None: pre absent). add adds to dx instead of writing (act None only).
	LinearBackwardInput(dx, dy, weight, pre Buf, n, in, out int, act Activation, add bool)
	// LinearBackwardWeight adds dy^T x to dweight[out,in] and the column sums of dy to dbias[out] (absent: skipped).
	LinearBackwardWeight(dweight, dbias, dy, x Buf, n, in, out int)

	// ActivationForward computes y = act(x) on n elements; for LM heads with a transform and for tests of Linear's epilogue.
	ActivationForward(y, x Buf, n int, act Activation)
	// ActivationBackward computes dx = dy * act'(x) on n elements; dx may be dy.
	ActivationBackward(dx, dy, x Buf, n int, act Activation)
	// Gated computes y[n,F] = act(gate[n,F]) * up[n,F], whose rows begin ld elements apart: SwiGLU with SiLU, GEGLU with a GELU,
	// where one buffer holds both (ld 2F), or a gate of its own (ld F). y may be up where ld is F.
	Gated(y, gate, up Buf, n, F, ld int, act Activation)
	// GatedBackward writes dgate[n,F] and dup[n,F], whose rows begin ld elements apart as those of gate and up, from dy[n,F] and
	// Gated's inputs. dup may be dy where ld is F.
	GatedBackward(dgate, dup, dy, gate, up Buf, n, F, ld int, act Activation)

	// Rope rotates the first heads of every row of x (n rows, ld elements apart) in place, in the rotate-half layout;
	// inverse applies the transposed rotation, which is the gradient.
	Rope(a Rope)

	// Attention is scaled dot-product attention inside segments, never N x N in memory.
	Attention(a Attention)
	// AttentionBackward writes the gradient of q, k and v of every token of a segment.
	AttentionBackward(a AttentionBackward)

	// RelativeAttention is attention with terms of relative position, through products and MaskedSoftmax.
	RelativeAttention(a RelativeAttention)
	// RelativeAttentionBackward writes its gradients of q, k and v of every token of a segment, and of the table.
	RelativeAttentionBackward(a RelativeAttentionBackward)

	// MaskedSoftmax writes p[R,C] = softmax of each row of scores over the entries with mask 1, and lse[R]. Masked entries
	// get exactly 0; a row with nothing kept gets p = 0 and lse = -Inf. mask (uint8 [R,C]) may be absent: all kept.
	// p may be scores.
	MaskedSoftmax(p, lse, scores, mask Buf, R, C int)
	// MaskedSoftmaxBackward writes dscores = p * (dp - sum(p*dp)) by row; dscores may be dp.
	MaskedSoftmaxBackward(dscores, dp, p Buf, R, C int)

	// GatherRows writes out[r] = x[rows[r]] for R rows of width C.
	GatherRows(out, x, rows Buf, R, C int)
	// ScatterAddRows adds src[r] to dst[rows[r]]; rows may repeat, the order of the sum is that of r.
	ScatterAddRows(dst, src, rows Buf, R, C int)

	// CrossEntropy is the row-weighted loss fused with its gradient, in place over the logits.
	CrossEntropy(a CrossEntropy)
	// ReferenceKL pulls rows to a frozen model's distribution without an unwanted token, loss and gradient as in CrossEntropy.
	ReferenceKL(a ReferenceKL)

	// Emissions gathers the log-probabilities of the tokens that a segment's states may emit.
	Emissions(a Emissions)
	// EmissionsBackward writes the gradient by the logits over them.
	EmissionsBackward(a EmissionsBackward)
	// Alignment is the sum over all monotonic alignments of states and targets, with its gradients.
	Alignment(a Alignment)
	// Links is the gated mixture of log-softmaxes of a transition head.
	Links(a Links)
	// LinksBackward writes its gradients of queries, keys and gates.
	LinksBackward(a LinksBackward)

	// Dropout writes y = x * mask / (1-p) on [n,C]; y may be x. Its gradient is itself with the same Drop.
	Dropout(y, x Buf, n, C int, d Drop)
	// Add computes dst += src on their common length.
	Add(dst, src Buf)
	// Sum writes the sum of x's first n elements to dst[at] (float64), in a fixed order; add adds to it.
	Sum(dst Buf, at int, x Buf, n int, add bool)
	// SumSquares is Sum of the squares.
	SumSquares(dst Buf, at int, x Buf, n int, add bool)
	// AdamW is the fused, guarded parameter update.
	AdamW(a AdamW)
	// LAMB is AdamW's step under a trust ratio, for one tensor.
	LAMB(a LAMB)
	// Momentum updates a moment and makes the direction that Muon orthogonalises.
	Momentum(a Momentum)
	// Combine is a guarded linear combination of two vectors.
	Combine(a Combine)

	// Reweigh turns the losses of rows into their weights, group by group.
	Reweigh(a Reweigh)
	// WeightedSum adds up vectors by learned weights.
	WeightedSum(a WeightedSum)
	// WeightedSumBackward adds the gradients of its vectors and weights.
	WeightedSumBackward(a WeightedSumBackward)
	// ScaleRows multiplies row r of x[R,C] by scales[r], in place; 0 gives exactly zeros whatever the row holds.
	ScaleRows(x, scales Buf, R, C int)
}

// Activation names a pointwise non-linearity.
type Activation uint8

// The activations. GELU is x*Phi(x) (Hendrycks and Gimpel, arXiv 1606.08415) with the error function or its tanh
// approximation; SiLU is x*sigmoid(x).
const (
	None Activation = iota
	GELUErf
	GELUTanh
	SiLU
	ReLU // max(0, x), of slope 0 at 0
)

// Drop describes dropout at one site: element (token, column) of step Step is kept iff the 16-bit lane
// column%8 of the Philox block {column/8, token, Step, StreamDropout<<16 | Site} under Seed is at least the
// threshold round(P*65536); lane l of a block is bits 16*(l%2).. of word l/2. Kept values are divided by the share that
// the rounded threshold really keeps. Attention drops probability (head, query, key) with counter
// {key/8 | head<<20, query, Step, ...}, where query and key are rows of the packed step. P = 0 is off.
type Drop struct {
	P    float32
	Seed uint64
	Step uint32 // counts micro-batches over the whole run
	Site uint16 // layer and place in it
}

// NormKind names a normalisation.
type NormKind uint8

// LayerNorm (arXiv 1607.06450) and RMSNorm (arXiv 1910.07467).
const (
	LayerNorm NormKind = iota + 1
	RMSNorm
)

// AddNorm computes sum = x + dropout(delta) and y = norm(sum)*gain + bias on n rows of width C. Delta absent: sum is x
// and is not written. Gain and Bias may be absent (1 and 0). Mean (LayerNorm only) and Rstd, float32 [n] (float64 on a
// float64 backend), are kept for the backward pass; both may be absent when there is none. Sum may be X or Delta.
// Y absent: only the addition is done.
type AddNorm struct {
	Y, Sum, X, Delta, Gain, Bias, Mean, Rstd Buf
	N, C                                     int
	Kind                                     NormKind
	Eps                                      float32
	Drop                                     Drop
}

// NormBackward writes DSum[n,C] = gradient of the norm's input from DY, or adds it when Add is set, and adds the
// gradients of gain and bias. Sum is the norm's input as AddNorm saw it. DSum may be DY when Add is not set.
type NormBackward struct {
	DSum, DGain, DBias, DY, Sum, Gain, Mean, Rstd Buf
	N, C                                          int
	Kind                                          NormKind
	Add                                           bool
}

// Rope: row i holds Heads heads of width D from its start. Axes 1: pair (j, j+D/2) of a head turns by
// pos[i][0]*theta_j, theta_j = Base^(-2j/D) (RoFormer, arXiv 2104.09864, rotate-half layout). Axes 2: the first half of a
// head turns so by pos[i][0], the second by pos[i][1], each with w = D/2 in place of D (ExLM, arXiv 2501.13397). Table
// is what RopeTable made and uploaded: [positions, pairs, 2] cosines and sines.
type Rope struct {
	X, Pos, Table Buf // Pos int32 [n,2]
	N, LD         int
	Heads, D      int
	Axes          int
	Inverse       bool
}

// Mask is who may see whom inside a segment.
type Mask uint8

// Bidirectional: all see all. Causal: a query sees itself and what is before it.
const (
	Bidirectional Mask = iota
	Causal
)

// A Segment is a run [Start, End) of packed rows that attend to each other only. Window > 0 limits a query to keys at
// most Window rows away on either side it may look.
type Segment struct {
	Start, End int32
	Mask       Mask
	Window     int32
}

// Attention: QKV is [rows, (H+2K)*D], a row being H query heads, K key heads and K value heads; query head h reads
// key/value head h/(H/K). Out is [rows, H*D], LSE (float32, float64 on a float64 backend) [H, rows of QKV] receives the
// log-sum-exp of the scaled scores, -Inf where a query sees nothing (its output is 0); absent when there is no backward.
// Only queries at rows >= From are computed (decoding with a cache); keys and values are always those of the segment.
// Scale 0 means 1/sqrt(D). Drop applies to the probabilities. Rows outside every segment are left alone.
// Algorithm of the fast paths: FlashAttention-2, arXiv 2307.08691.
type Attention struct {
	Out, LSE, QKV Buf
	Segments      []Segment
	Rows          int
	H, K, D       int
	From          int
	Scale         float32
	Drop          Drop
}

// AttentionBackward writes DQKV [rows, (H+2K)*D] for the rows of all segments from DOut [rows, H*D] and what Attention
// read and wrote.
type AttentionBackward struct {
	DQKV, DOut, Out, LSE, QKV Buf
	Segments                  []Segment
	Rows                      int
	H, K, D                   int
	Scale                     float32
	Drop                      Drop
}

// IgnoreTarget marks a row without a target: loss, gradient and hit are 0.
const IgnoreTarget = -100

// CrossEntropy: for each of R rows of Logits [R,V] with target y and weight w, in natural logarithms,
//
//	nll = lse - z_y
//	base = nll | (1-Smoothing)*nll + Smoothing*(lse - mean(z)) | (1-p_y)^Focal * nll | stop_gradient(p_y) * nll (DFT)
//	loss = w * (base + ZLoss*lse^2)
//
// NLL[r] = nll and Loss[r] = loss (both may be absent), Hit[r] = 1 where the target is the first largest logit (may be
// absent), and, with Grad, Logits is overwritten with GradScale * d(loss)/dz. Without Grad it keeps unspecified contents.
// At most one of Smoothing, Focal and DFT is set. A weight of 0 or IgnoreTarget gives exactly zero loss and gradient.
// Weights absent: all 1. Focal loss: arXiv 1708.02002; DFT: arXiv 2508.05629.
type CrossEntropy struct {
	Logits, Targets, Weights, NLL, Loss, Hit Buf // Targets int32; the rest Master, Logits Compute
	R, V                                     int
	Smoothing, ZLoss, Focal                  float64
	DFT                                      bool
	Grad                                     bool
	GradScale                                float64
}

// AdamW (arXiv 1711.05101) on one parameter tensor P with gradient G and moments M and V:
//
//	g = G*scale; m = B1*m + (1-B1)*g; v = B2*v + (1-B2)*g^2
//	p = p - LR*( m/Correction1 / (sqrt(v/Correction2) + Eps) + Decay*p )
//
// where scale = GradScale * min(1, Clip / (GradScale*sqrt(Guard[0]))), Clip 0 meaning no limit and Guard[0] the sum of
// squares of all gradients. Guard is float64; when any element of it is not finite, nothing is changed at all.
// Eps must be above 0. Copy, when given, receives P in the backend's compute type.
type AdamW struct {
	P, G, M, V, Copy, Guard  Buf
	LR, B1, B2, Eps, Decay   float64
	Correction1, Correction2 float64 // 1 - B1^t, 1 - B2^t
	GradScale, Clip          float64
}
