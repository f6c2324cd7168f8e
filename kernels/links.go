package kernels

import "math"

// Links is the gated mixture of log-softmaxes of a transition head (DA-Transformer, arXiv 2205.07459; ExLM, arXiv
// 2501.13397). A row of QK [rows, 2*H*D] is the H queries and the H keys of one state, a row of Gate [rows,H] the logits of
// its heads. Among the states of a lattice, with
//
//	allowed(u,v): u < v, and Groups[u] < Groups[v] where Groups, int32 by row, is given (sparse graphs)
//	s^c_uv = q^c_u . k^c_v / sqrt(D)
//	LogE_uv = logsumexp_c( log_softmax(Gate_u)_c + log_softmax_{v allowed}(s^c_u.)_v )
//
// LogE is written as Lattice lays it out, -Inf where no link is allowed: every row with an allowed link adds up to one. LSE
// [rows,H] receives the log-sum-exps of the scores, -Inf where none is allowed; it may be absent when there is no backward
// pass. Rows outside of all lattices are left alone. Targets of lattices are not looked at.
type Links struct {
	LogE, LSE, QK, Gate, Groups Buf // LogE, LSE Master, QK and Gate Compute, Groups int32
	Lattices                    []Lattice
	Rows, H, D                  int
}

// LinksBackward writes DQK and DGate for the rows of all lattices from DLogE and what Links read and wrote. DLogE at links
// that are not allowed is not looked at.
type LinksBackward struct {
	DQK, DGate, DLogE, LogE, LSE, QK, Gate, Groups Buf
	Lattices                                       []Lattice
	Rows, H, D                                     int
}

func (c opCheck) links(logE, lse, qk, gate, groups Buf, lattices []Lattice, rows, H, D int) {
	c.dims(0, "Rows", rows)
	c.dims(1, "H", H, "D", D)
	c.lattices(lattices, DAG, rows, math.MaxInt32)
	c.activation("QK", qk, rows*2*H*D)
	c.activation("Gate", gate, rows*H)
	c.master("LogE", logE, LinksSize(lattices))
	optional(c.master, "LSE", lse, rows*H)
	optional(c.index, "Groups", groups, rows)
}

func (a *Links) check() {
	checkOp("Links", "QK", a.QK).links(a.LogE, a.LSE, a.QK, a.Gate, a.Groups, a.Lattices, a.Rows, a.H, a.D)
}

func (a *LinksBackward) check() {
	c := checkOp("LinksBackward", "QK", a.QK)
	c.links(a.LogE, a.LSE, a.QK, a.Gate, a.Groups, a.Lattices, a.Rows, a.H, a.D)
	c.master("LSE", a.LSE, a.Rows*a.H)
	c.master("DLogE", a.DLogE, LinksSize(a.Lattices))
	c.activation("DQK", a.DQK, a.Rows*2*a.H*a.D)
	c.activation("DGate", a.DGate, a.Rows*a.H)
}

// linked reports whether a link from u to a later v is allowed; groups may be nil.
func linked(groups []int32, u, v int) bool { return groups == nil || groups[v] > groups[u] }
