package kernels

import "fmt"

// The checks of arguments that every backend makes before it runs an op. Only shapes, types and options are looked at,
// never the contents of buffers, so that they cost nothing and serve devices too; host backends check indices with
// checkIndices. A buffer may be longer than its shape (steps have capacities), never shorter.
//
// The type of an op's activations is that of its main buffer; parameters, gradients of parameters and row statistics have
// the master type that belongs to it, and parameters that are only read may have either.

// masterOf returns the type of parameters' gradients and of row statistics beside activations of type compute.
func masterOf(compute DType) DType {
	if compute == BF16 {
		return F32
	}
	return compute
}

// An opCheck carries the op's name and the type of its activations through the checks of one call.
type opCheck struct {
	op      string
	compute DType
}

// checkOp starts the checks of op, whose activations have the type of the named buffer.
func checkOp(op, name string, main Buf) opCheck {
	c := opCheck{op, main.Type()}
	if main.Absent() {
		c.fail("%s is absent", name)
	}
	if c.compute != F32 && c.compute != F64 && c.compute != BF16 {
		c.fail("%s is %v, want a floating type", name, c.compute)
	}
	return c
}

func (c opCheck) fail(format string, args ...any) {
	panic("kernels: " + c.op + ": " + fmt.Sprintf(format, args...))
}

// dims checks sizes given as pairs of name and value.
func (c opCheck) dims(least int, pairs ...any) {
	for i := 0; i < len(pairs); i += 2 {
		if n := pairs[i+1].(int); n < least {
			c.fail("%s = %d, want at least %d", pairs[i], n, least)
		}
	}
}

// length checks that b is present and holds at least n elements.
func (c opCheck) length(name string, b Buf, n int) {
	if b.Absent() {
		c.fail("%s is absent, want %d elements", name, n)
	}
	if b.Len() < n {
		c.fail("%s holds %d elements, want at least %d", name, b.Len(), n)
	}
}

// typed checks that b is present, of type t and holds at least n elements.
func (c opCheck) typed(name string, b Buf, t DType, n int) {
	c.length(name, b, n)
	if b.Type() != t {
		c.fail("%s is %v, want %v", name, b.Type(), t)
	}
}

func (c opCheck) activation(name string, b Buf, n int) { c.typed(name, b, c.compute, n) }
func (c opCheck) master(name string, b Buf, n int)     { c.typed(name, b, masterOf(c.compute), n) }
func (c opCheck) index(name string, b Buf, n int)      { c.typed(name, b, I32, n) }

// parameter checks a parameter that the op reads: the compute copy or the master.
func (c opCheck) parameter(name string, b Buf, n int) {
	c.length(name, b, n)
	if b.Type() != c.compute && b.Type() != masterOf(c.compute) {
		c.fail("%s is %v, want %v or %v", name, b.Type(), c.compute, masterOf(c.compute))
	}
}

// table is parameter for tables of rows of width C.
func (c opCheck) table(name string, b Buf, C int) {
	c.parameter(name, b, C)
	if b.Len()%C != 0 {
		c.fail("%s holds %d elements, want whole rows of %d", name, b.Len(), C)
	}
}

// optional runs a check unless b is absent.
func optional(check func(string, Buf, int), name string, b Buf, n int) {
	if !b.Absent() {
		check(name, b, n)
	}
}

func (c opCheck) act(act Activation) {
	if act > ReLU {
		c.fail("activation %d does not exist", act)
	}
}

func (c opCheck) drop(d Drop) {
	if !(d.P >= 0) || d.threshold() >= 1<<16 {
		c.fail("dropout probability %g, want 0 <= P < 1 with less than 65535.5/65536", d.P)
	}
}

// same reports whether two buffers start at the same element.
func (b Buf) same(o Buf) bool {
	return !b.Absent() && !o.Absent() && b.host == o.host && b.addr == o.addr
}

// checkIndices panics unless all of idx are in [0, bound). Host backends call it before they use indices as addresses.
func checkIndices(op, name string, idx []int32, bound int) {
	for i, v := range idx {
		if v < 0 || int(v) >= bound {
			panic(fmt.Sprintf("kernels: %s: %s[%d] = %d, want it in [0,%d)", op, name, i, v, bound))
		}
	}
}

// checkPositions is checkIndices for the first axes columns of positions [n,2].
func checkPositions(op string, pos []int32, n, axes, bound int) {
	for i := range n {
		for axis := range axes {
			if v := pos[2*i+axis]; v < 0 || int(v) >= bound {
				panic(fmt.Sprintf("kernels: %s: position %d of row %d is %d, want it in [0,%d)", op, axis, i, v, bound))
			}
		}
	}
}

// checkTargets panics unless every target of a cross-entropy is a class or IgnoreTarget; ValidateCrossEntropy says the same
// as an error.
func checkTargets(targets []int32, V int) {
	for r, y := range targets {
		if y != IgnoreTarget && (y < 0 || int(y) >= V) {
			panic(fmt.Sprintf("kernels: CrossEntropy: target %d of row %d, want it in [0,%d) or %d", y, r, V, IgnoreTarget))
		}
	}
}
