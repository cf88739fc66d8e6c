// Package notice tells people, by e-mail and by webhook, what needs a person.
//
// It delivers and does nothing else: each call of Send is one try of one delivery, and nothing is remembered. What is
// worth a notice, that a cause is told once, and when a failed delivery is tried again is decided by the caller, who
// keeps notices in the store until they are delivered. A repeat has the same ID, so that receivers can leave it out.
package notice

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
	"unicode"
)

// Notice is one thing that a person has to know.
type Notice struct {
	// ID is the same for a repeat of the same notice.
	ID string
	// Installation is what this installation calls itself, so that a person with several knows which one speaks.
	Installation string
	// Subject is one line, Text a few that say what happened, where, and what to do.
	Subject, Text string
	Level         Level
	// Cause is the key of the cause, for programs. The notice that all is well again has that of the problem.
	Cause string
	// At is when it happened.
	At time.Time
	// Facts are told in their order.
	Facts []Fact
}

// Level says whether something is wrong.
type Level string

// The levels.
const (
	Problem  Level = "problem"
	Resolved Level = "resolved"
)

// Fact is a circumstance, such as the data set and its id.
type Fact struct {
	Name, Value string
}

// title is the line that comes first.
func (n Notice) title() string {
	if n.Installation == "" {
		return oneLine(n.Subject)
	}
	return "[" + oneLine(n.Installation) + "] " + oneLine(n.Subject)
}

// body is all but the title, for a person.
func (n Notice) body() string {
	var b strings.Builder
	if text := lines(n.Text); text != "" {
		b.WriteString(text + "\n\n")
	}
	for _, fact := range n.Facts {
		b.WriteString(oneLine(fact.Name) + ": " + oneLine(fact.Value) + "\n")
	}
	b.WriteString("At: " + n.At.UTC().Format("2006-01-02 15:04 MST") + "\n")
	return b.String()
}

// key tells notices apart at a receiver that gets those of several installations. It fits in any header.
func (n Notice) key() string {
	return digest(n.Installation, n.ID)
}

// digest gives 128 bits, in hexadecimal digits, that stand for the words.
func digest(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// oneLine makes a text fit for a header: no line breaks, no control characters.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "\uFFFD"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
}

// lines takes the control characters out of a text, but for line breaks and tabs.
func lines(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\r\n", "\n")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, text))
}
