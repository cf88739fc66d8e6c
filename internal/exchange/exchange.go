// Package exchange keeps one try of one call to a neighbour as evidence: when, where, what was sent and what was
// answered.
//
// What it keeps is meant to be stored and shown. So secrets are taken out and bodies are cut as soon as an Exchange is
// made, not where it is read; a cut body still tells the length and the SHA-256 of the whole.
package exchange

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Exchange is one try of one call. Its JSON form is what is stored.
type Exchange struct {
	// Began is when the request left, Took how long it was until the answer was whole or the try had failed.
	Began time.Time     `json:"began"`
	Took  time.Duration `json:"took"`
	// Method and Address are of the request; the address has no credentials.
	Method  string `json:"method"`
	Address string `json:"address"`
	// Sent and Received are the bodies, SentHeader and ReceivedHeader the headers that are kept.
	SentHeader     map[string]string `json:"sent_header,omitempty"`
	Sent           Body              `json:"sent"`
	Status         int               `json:"status"`
	ReceivedHeader map[string]string `json:"received_header,omitempty"`
	Received       Body              `json:"received"`
	// Error says why there was no whole answer; empty when there was one. Status is 0 when none began.
	Error string `json:"error,omitempty"`
	// LeftOut, where it is not 0, is how many tries are not kept, for there were too many. This Exchange stands for all
	// of them: Began, Method and Address are of the first, Error says it in words.
	LeftOut int `json:"left_out,omitempty"`
}

// Body is what is kept of a body. The zero value is an empty one.
type Body struct {
	// Text is the beginning, or all of it, without secrets and always valid UTF-8.
	Text string `json:"text,omitempty"`
	// Length and SHA256 are of the whole body, unpacked. Where it was not read to its end, Length is of what was read,
	// SHA256 is empty and Cut is set.
	Length int    `json:"length"`
	SHA256 string `json:"sha256,omitempty"`
	// Cut says that Text is not all of it.
	Cut bool `json:"cut,omitempty"`
}

// margin is how much more than the limit is looked at for secrets: one that begins before the cut has to be recognised.
const margin = 4 << 10

// NewBody keeps at most limit bytes of the text of a body.
func NewBody(whole []byte, limit int) Body {
	sum := sha256.Sum256(whole)
	return bodyOf(whole[:min(len(whole), lookedAt(limit))], len(whole), sum[:], limit)
}

// Writer makes a Body of what is written to it, while it passes: it keeps no more of it than the beginning.
type Writer struct {
	limit     int
	beginning []byte
	length    int
	sum       hash.Hash // nil where no digest is wanted
}

// NewWriter makes a writer whose Body keeps at most limit bytes of the text.
func NewWriter(limit int) *Writer {
	return &Writer{limit: limit, sum: sha256.New()}
}

// Write never fails.
func (w *Writer) Write(p []byte) (int, error) {
	if room := lookedAt(w.limit) - len(w.beginning); room > 0 {
		w.beginning = append(w.beginning, p[:min(len(p), room)]...)
	}
	w.length += len(p)
	if w.sum != nil {
		_, _ = w.sum.Write(p) // a hash never fails
	}
	return len(p), nil
}

// Body is what is kept of all that was written so far, as of a whole body.
func (w *Writer) Body() Body {
	return bodyOf(w.beginning, w.length, w.sum.Sum(nil), w.limit)
}

// part is what is kept of a body whose rest was not read.
func (w *Writer) part() Body {
	b := w.Body()
	b.SHA256, b.Cut = "", true
	return b
}

// lookedAt is how much of the beginning of a body is needed to keep limit bytes of it without secrets.
func lookedAt(limit int) int {
	if limit <= 0 {
		return 0
	}
	return min(limit, math.MaxInt-margin) + margin
}

// bodyOf keeps at most limit bytes of the beginning of a body of this length and digest.
func bodyOf(beginning []byte, length int, sum []byte, limit int) Body {
	if length == 0 {
		return Body{}
	}
	text := Redact(string(beginning))
	return Body{
		Text:   clip(text, limit),
		Length: length,
		SHA256: hex.EncodeToString(sum),
		Cut:    len(beginning) < length || len(text) > limit,
	}
}

// String is the text for a person. Where it was cut, the last line says so, with length and SHA-256 of the whole.
func (b Body) String() string {
	switch {
	case !b.Cut:
		return b.Text
	case b.SHA256 == "":
		return b.Text + fmt.Sprintf("\n[cut: %d bytes were read, and not the rest]", b.Length)
	}
	return b.Text + fmt.Sprintf("\n[cut: %d bytes in all, SHA-256 %s]", b.Length, b.SHA256)
}

var cutLine = regexp.MustCompile(`\n\[cut: \d+ bytes (?:in all, SHA-256 [0-9a-f]{64}|were read, and not the rest)\]$`)

// maxCutLine is how many bytes of a text are searched for the line of an earlier cut.
const maxCutLine = 128

// Shorten cuts a text to at most limit bytes, and says so in a last line, which comes on top, with length and SHA-256 of
// the whole. A text that was cut before keeps the line that it has. The result is valid UTF-8.
func Shorten(text string, limit int) string {
	if line := earlierCut(text); line != "" {
		return clip(text[:len(text)-len(line)], limit) + line
	}
	if len(text) <= limit && utf8.ValidString(text) {
		return text
	}
	valid := strings.ToValidUTF8(text, "\uFFFD")
	if len(valid) <= limit {
		return valid
	}
	sum := sha256.Sum256([]byte(text))
	return Body{Text: clip(valid, limit), Length: len(text), SHA256: hex.EncodeToString(sum[:]), Cut: true}.String()
}

// Keep is Shorten for a text that may hold secrets: it takes them out.
func Keep(text string, limit int) string {
	if line := earlierCut(text); line != "" {
		text = text[:len(text)-len(line)]
		return clip(Redact(text[:min(len(text), max(limit, 0)+margin)]), limit) + line
	}
	if len(text) <= limit {
		return Shorten(Redact(text), limit)
	}
	return NewBody([]byte(text), limit).String()
}

// earlierCut gives the line that an earlier cut has left at the end of a text, empty when there is none.
func earlierCut(text string) string {
	tail := text[max(0, len(text)-maxCutLine):]
	if !strings.HasSuffix(tail, "]") {
		return ""
	}
	at := cutLine.FindStringIndex(tail)
	if at == nil {
		return ""
	}
	return tail[at[0]:]
}

// clip gives the beginning of a text, at most limit bytes, without half a character at its end.
func clip(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	end := max(limit, 0)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
