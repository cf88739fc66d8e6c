package cht

import (
	"bytes"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// scan finds its way in JSON that is known to be valid, and so needs to look at each byte once only: the documents of a month are
// hundreds of megabytes. On what is not valid it may panic.
type scan struct {
	b []byte
	i int
}

// next gives the first byte that is no white space, and stays before it.
func (s *scan) next() byte {
	for s.b[s.i] <= ' ' {
		s.i++
	}
	return s.b[s.i]
}

// more steps into an object or a list, or over the comma, and says whether another member follows. At the end it steps out.
func (s *scan) more(end byte) bool {
	s.next()
	s.i++ // the bracket, the comma or the end
	if s.b[s.i-1] == end {
		return false
	}
	if s.next() == end { // of an empty one
		s.i++
		return false
	}
	return true
}

// name gives the name of a member, and steps over the colon.
func (s *scan) name() []byte {
	name := s.text()
	s.next()
	s.i++
	return name
}

// text gives the text of a string. It is good as long as the JSON is.
func (s *scan) text() []byte {
	s.next()
	start, escaped := s.i, false
	for s.i++; s.b[s.i] != '"'; s.i++ {
		if s.b[s.i] == '\\' {
			escaped = true
			s.i++
		}
	}
	s.i++
	if !escaped {
		return s.b[start+1 : s.i-1]
	}
	text, _ := jsontext.AppendUnquote(nil, s.b[start:s.i]) // half of a surrogate pair becomes U+FFFD
	return text
}

// textOr gives the text where a string stands, and nil for anything else.
func (s *scan) textOr() []byte {
	if s.next() == '"' {
		return s.text()
	}
	s.skip()
	return nil
}

// enter says whether the value that follows is of the kind that begins so; what it is not is stepped over.
func (s *scan) enter(begin byte) bool {
	if s.next() == begin {
		return true
	}
	s.skip()
	return false
}

// skip steps over a value.
func (s *scan) skip() {
	for depth := 0; ; {
		switch s.next() {
		case '"':
			s.pass()
		case '{', '[':
			depth++
			s.i++
		case '}', ']':
			depth--
			s.i++
		case ',', ':':
			s.i++
		default:
			s.bare()
		}
		if depth == 0 {
			return
		}
	}
}

// pass steps over a string.
func (s *scan) pass() {
	for s.i++; s.b[s.i] != '"'; s.i++ {
		if s.b[s.i] == '\\' {
			s.i++
		}
	}
	s.i++
}

// bare gives a number, or the word that stands there.
func (s *scan) bare() []byte {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] > ' ' && s.b[s.i] != ',' && s.b[s.i] != '}' && s.b[s.i] != ']' {
		s.i++
	}
	return s.b[start:s.i]
}

// raw gives a value as it stands.
func (s *scan) raw() []byte {
	s.next()
	start := s.i
	s.skip()
	return s.b[start:s.i]
}

// maxCount is the largest number that a phone can count to: beyond it JavaScript leaves numbers out.
const maxCount = 1 << 53

// count gives a whole number from 0 to maxCount, Unread for anything else that stands there.
func (s *scan) count() int64 {
	if c := s.next(); c < '0' || c > '9' {
		s.skip()
		return Unread
	}
	digits := s.bare()
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' || n > maxCount {
			return wholeOf(string(digits))
		}
		n = 10*n + int64(c-'0')
	}
	if n > maxCount {
		return Unread
	}
	return n
}

// usual reads a target that begins with these bytes, up to the number of pass, and goes on as usual; on any other it stays where it is.
// As the same bytes have the same meaning, it sees what a full look would.
func (s *scan) usual(beginning string) (pass, total int64, ok bool) {
	start := s.i
	if s.passes(beginning) && s.digits(&pass) && s.passes(`,"total":`) && s.digits(&total) {
		var percent int64
		if s.passes("}}") || s.passes(`,"percent":`) && s.digits(&percent) && s.passes("}}") {
			return pass, total, true
		}
	}
	s.i = start
	return 0, 0, false
}

// passes steps over the text where it stands next.
func (s *scan) passes(text string) bool {
	end := s.i + len(text)
	if text == "" || end > len(s.b) || string(s.b[s.i:end]) != text {
		return false
	}
	s.i = end
	return true
}

// digits reads a number of up to 15 digits, and nothing else.
func (s *scan) digits(n *int64) bool {
	start := s.i
	for ; s.b[s.i] >= '0' && s.b[s.i] <= '9'; s.i++ {
		*n = 10**n + int64(s.b[s.i]-'0')
	}
	return s.i > start && s.i-start <= 15 && (s.b[s.i] == ',' || s.b[s.i] == '}')
}

// wholeOf reads a number with a point or an exponent, which may be whole all the same, such as 3.0.
func wholeOf(digits string) int64 {
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil || f != math.Trunc(f) || f >= maxCount {
		return Unread
	}
	return int64(f)
}

// truthy says whether JavaScript takes the value for true.
func truthy(raw []byte) bool {
	switch string(bytes.TrimLeft(raw, "-")) {
	case "", "null", "false", `""`, "0", "0.0":
		return false
	}
	return true
}
