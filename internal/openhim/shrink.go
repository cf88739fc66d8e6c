package openhim

import (
	"strconv"
	"strings"
)

// Shrink gives a smaller form of a report that OpenHIM does not take. Step 1 cuts bodies, 2 leaves bodies, headers and
// all but the first steps out, 3 all steps, and 4 keeps what no report can do without. False says that there is no
// smaller one.
func (t Transaction) Shrink(step int) (Transaction, bool) {
	const (
		own   = 1 << 10 // what is kept of the transaction's own bodies
		line  = 200
		first = 10
	)
	smaller := []func(Transaction) Transaction{
		func(t Transaction) Transaction { return t.cut(own, 4*own) },
		func(t Transaction) Transaction { return t.cut(0, own).lines(line).first(first) },
		func(t Transaction) Transaction {
			t.Orchestrations = nil
			return t.cut(0, own)
		},
		Transaction.bare,
	}
	if step < 1 || step > len(smaller) {
		return t, false
	}
	return smaller[step-1](t), true
}

// Number writes a count as it stands in the names of steps: 16,000.
func Number(n int) string {
	digits := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	var groups []string
	for ; len(digits) > 3; digits = digits[:len(digits)-3] {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
	}
	return sign + strings.Join(append([]string{digits}, groups...), ",")
}
