package orchestration

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// ladder brings in a chunk that DHIS2 refused as a whole for some of its values, by steps: what the answer names is set aside
// and the rest goes again; where it names nothing, the range is halved until one part is left, and in this one dry runs find
// the cells. Each step books the answer before it and records its own chunk, with what is set aside, in one transaction: a
// process that takes over finds the chunk with it, or the range free, and then asks anew.
type ladder struct {
	*sending

	whole ledger.Range
	combo string
	// values are those of the whole range; those of its part i begin at starts[i], and a last start is their end.
	values []dhis2.DataValue
	starts []int
	// aside are the values that do not go, by their places.
	aside map[int]dhis2.Refusal

	// The range from from to to went last, and what lies before it is settled. Before known, where that is more than from, there
	// is a value at fault that no answer has named.
	from, to, known int
	// repeats counts how often the range went without what the answer before had named.
	repeats int
	// proven says that DHIS2 takes something of the submission: what it refuses is not refused for all.
	proven bool
	// heads counts the values in a row that were found at fault in one part with none before them that is good, asked the dry
	// runs after one attempt, and taken how often one took what was refused a moment before.
	heads, asked, taken int
	// mute is why dry runs after the last attempt told nothing, nil where they did.
	mute *dhis2.Error
}

const (
	// mostRepeats is how often a range goes without what is named before it is halved, as most codes name the first only.
	mostRepeats = 12
	// mostTaken is how often a range goes again as it is, as a dry run took what was refused a moment before.
	mostTaken = 2
	// probes is how many values are tried all over the content, before one is blamed for a refusal that may hold for all.
	probes = 8
	// mostAsked is of how many dry runs after one attempt the evidence is kept.
	mostAsked = 12
)

// combos are those of a value.
type combos struct{ attribute, category string }

// narrow goes on with a chunk that was refused as a whole, until its range is settled or nothing more can go now. What it
// gives is to be booked still.
func (s *sending) narrow(ctx context.Context, refused answered) answered {
	l := &ladder{sending: s, whole: refused.chunk.Range, from: refused.chunk.From, to: refused.chunk.To, aside: map[int]dhis2.Refusal{}}
	if err := l.read(ctx); err != nil {
		refused.end.err = err
		return refused
	}
	for _, r := range refused.chunk.SetAside {
		l.aside[r.Index] = r
	}
	return l.climb(ctx, refused)
}

func (l *ladder) read(ctx context.Context) (err error) {
	l.values, l.combo, err = l.Ledger.Values(ctx, l.submission.ID, ledger.Chunk{Range: l.whole})
	for i, v := range l.values {
		if i == 0 || v.OrgUnit != l.values[i-1].OrgUnit {
			l.starts = append(l.starts, i)
		}
	}
	if parts := l.whole.To - l.whole.From; err == nil && len(l.starts) != parts {
		err = fmt.Errorf("%w: it has %d org units, and its range gives %d", ledger.ErrChunk, parts, len(l.starts))
	}
	l.starts = append(l.starts, len(l.values))
	return err
}

func (l *ladder) climb(ctx context.Context, sent answered) answered {
	for sent.end.err == nil {
		switch sent.end.after {
		case narrower:
			if l.lower(ctx, &sent); sent.end.err != nil || sent.end.after != narrower {
				continue
			}
		case anew:
			l.smaller(&sent)
			if sent.end.after != anew {
				continue
			}
		case goOn:
			l.proven = l.proven || sent.answer.Accepted > 0
			if l.from = l.to; l.from == l.whole.To {
				return sent
			}
			l.further()
		default:
			return sent
		}
		next, went := l.step(ctx, sent)
		if !went {
			return next
		}
		sent = next
	}
	return sent
}

// further chooses what goes after a range that is settled: all of the rest, but half of what is known to hold a value at fault.
func (l *ladder) further() {
	l.repeats, l.heads, l.taken = 0, 0, 0
	l.to = l.whole.To
	if l.known > l.from {
		if l.to = l.known; l.parts(l.to) > 1 {
			l.to = l.middle(l.to)
		}
	}
}

// smaller halves a range that was too much for one request.
func (l *ladder) smaller(sent *answered) {
	if l.parts(l.to) > 1 {
		l.to, l.known = l.middle(l.to), l.from
		return
	}
	if sent.chunk.Tried { // an earlier request may have stored it
		l.putOff(sent, sent.answer.Failure)
		return
	}
	places := l.places(l.from, l.to)
	sent.answer.Outcome = sent.answer.Final(l.chunk(l.at(places)))
	l.giveUp(sent, places)
}

// lower takes in what was at fault for a refusal, and chooses what goes next. Where nothing is left to go, or nothing can be
// found, the answer becomes a plain refusal, which ends the range.
func (l *ladder) lower(ctx context.Context, sent *answered) {
	places := l.places(l.from, l.to)
	o := sent.answer.Outcome
	var found []dhis2.Refusal
	l.mute = nil
	if o.Next == dhis2.Narrow {
		found = l.translate(o.Refused, places)
	} else if found = l.search(ctx, sent, places); sent.end.err != nil || sent.end.after != narrower {
		return
	}
	l.setAside(found)
	switch {
	case len(found) == 0 && l.taken > 0 && l.taken <= mostTaken:
		l.note(sent, nil, "once more")
	case len(found) == 0 && l.parts(l.to) > 1:
		l.note(sent, nil, "in halves")
		l.known, l.to, l.repeats = l.to, l.middle(l.to), 0
	case len(found) == 0 && l.mute != nil && sent.chunk.Attempts < hopeless:
		l.putOff(sent, l.mute)
	case len(found) == 0 || len(l.places(l.from, l.to)) == 0:
		l.giveUp(sent, places)
	default:
		l.note(sent, found, "")
		l.known = l.from
		if l.repeats++; l.repeats > mostRepeats && l.parts(l.to) > 1 {
			l.to, l.repeats = l.middle(l.to), 0
		}
	}
}

// search finds what is at fault for a refusal that does not say so, where it can without dividing the range; nothing where it
// is to be divided, or where nobody can say.
func (l *ladder) search(ctx context.Context, sent *answered, places []int) []dhis2.Refusal {
	l.asked = 0
	if dhis2.ByCombo(sent.answer.Refused[0].Code) {
		if found := l.deniedAt(places); len(found) > 0 {
			return found
		}
		return l.ask(ctx, sent, places)
	}
	if l.parts(l.to) > 1 {
		return nil
	}
	if l.heads > 1 {
		return l.askEach(ctx, sent, places)
	}
	found := l.ask(ctx, sent, places)
	if len(found) > 0 && !l.proven && sent.end.after == narrower && !l.probe(ctx, sent) {
		return nil
	}
	return found
}

// deniedAt gives the values whose category option combos DHIS2 has refused by themselves before.
func (l *ladder) deniedAt(places []int) (found []dhis2.Refusal) {
	for _, p := range places {
		if r, denied := l.denied[combos{l.combo, l.values[p].CategoryOptionCombo}]; denied {
			found = append(found, l.refusal(p, r))
		}
	}
	return found
}

// refusal is what DHIS2 said of one value, said of that at a place.
func (l *ladder) refusal(place int, r dhis2.Refusal) dhis2.Refusal {
	r.Index, r.DataValue = place, l.values[place]
	return r
}

// ask finds the first suspect that DHIS2 refuses together with those before it, by dry runs; nothing where its answers say
// nothing. Of suspects that are told by their combos, one value of each goes.
func (l *ladder) ask(ctx context.Context, sent *answered, places []int) []dhis2.Refusal {
	words := sent.answer.Refused[0]
	suspects := l.suspects(words.Code, places)
	good, bad := 0, len(suspects)
	for confirmed := false; bad-good > 1 || !confirmed; {
		middle := good + max(1, (bad-good)/2)
		o, ok := l.question(ctx, sent, slices.Concat(suspects[:middle]...))
		switch {
		case !ok:
			return nil
		case o.AsWhole() && o.Next == dhis2.Narrow:
			return l.translate(o.Refused, slices.Concat(suspects[:middle]...))
		case o.AsWhole():
			bad, confirmed, words = middle, true, o.Refused[0]
		case middle == bad: // it takes what it refused a moment ago
			l.taken++
			return nil
		default:
			good = middle
		}
	}
	if l.heads++; good > 0 {
		l.heads = 0
	}
	var found []dhis2.Refusal
	for _, place := range suspects[bad-1] {
		found = append(found, l.refusal(place, words))
	}
	if dhis2.ByCombo(words.Code) {
		if l.denied == nil {
			l.denied = map[combos]dhis2.Refusal{}
		}
		l.denied[combos{l.combo, found[0].CategoryOptionCombo}] = words
	}
	return found
}

// suspects are the places of those that may be at fault for a code.
func (l *ladder) suspects(code string, places []int) [][]int {
	suspects := dhis2.Suspects(code, l.at(places))
	for i, group := range suspects {
		if dhis2.ByCombo(code) {
			group = group[:1]
		}
		for j := range group {
			group[j] = places[group[j]]
		}
		suspects[i] = group
	}
	return suspects
}

// askEach finds the values that DHIS2 refuses by themselves: where most are, that is less than looking for one after the other.
func (l *ladder) askEach(ctx context.Context, sent *answered, places []int) (found []dhis2.Refusal) {
	for _, place := range places {
		o, ok := l.question(ctx, sent, []int{place})
		switch {
		case !ok:
			return nil
		case o.AsWhole():
			found = append(found, l.refusal(place, o.Refused[0]))
		}
	}
	l.heads = 0
	if len(found) == 0 {
		l.taken++
	}
	return found
}

// probe says whether DHIS2 takes any of some values that lie far apart in the submission. Where it takes none, what it refuses
// with is no value's fault, and nothing more of the submission goes.
func (l *ladder) probe(ctx context.Context, sent *answered) bool {
	for i := range probes {
		part := i * l.submission.Parts / probes
		values, combo, err := l.Ledger.Values(ctx, l.submission.ID, ledger.Chunk{Range: ledger.Range{From: part, To: part + 1}})
		if err != nil {
			sent.end.err = err
			return false
		}
		chunk := l.chunk(values[i*len(values)/probes:][:1])
		chunk.AttributeOptionCombo = combo
		if _, ok := l.dryRun(ctx, sent, chunk); !ok || l.proven {
			return ok
		}
	}
	first := sent.answer.Refused[0]
	l.note(sent, nil, "nothing more goes")
	sent.end = ended{after: stop, failure: &failure{
		state: ledger.Refused, reason: NothingAccepted, remedy: first.Remedy,
		text: fmt.Sprintf("DHIS2 refuses whatever is sent: %s: %s", cmp.Or(first.Code, "no code"), first.Reason),
	}}
	return false
}

func (l *ladder) at(places []int) []dhis2.DataValue {
	values := make([]dhis2.DataValue, len(places))
	for i, p := range places {
		values[i] = l.values[p]
	}
	return values
}

// translate tells refusals of values that were sent by their places in the whole range.
func (l *ladder) translate(refused []dhis2.Refusal, sent []int) []dhis2.Refusal {
	refused = slices.Clone(refused)
	for i, r := range refused {
		refused[i].Index = sent[r.Index]
	}
	return refused
}

// question lets DHIS2 say what it makes of the values at the places. Where there is no such answer, ok is false, and the attempt
// ends otherwise, or is mute.
func (l *ladder) question(ctx context.Context, sent *answered, places []int) (o dhis2.Outcome, ok bool) {
	return l.dryRun(ctx, sent, l.chunk(l.at(places)))
}

// dryRun lets DHIS2 check a chunk without storing it.
func (l *ladder) dryRun(ctx context.Context, sent *answered, chunk dhis2.Chunk) (o dhis2.Outcome, ok bool) {
	if end := l.mayGo(ctx); end != nil && end.after != over { // with the turn, what a search has found would be lost
		sent.end = *end
		return o, false
	}
	text, err := l.who.to.Client.Pack(chunk)
	if err == nil {
		if l.asked++; l.asked <= mostAsked {
			ctx = sent.calls.call(ctx, "Ask DHIS2, storing nothing, whether it takes "+counted(len(chunk.Values), "value"))
		}
		o, err = l.who.to.Client.Import(ctx, l.dialect, text, dhis2.Options{DryRun: true})
		sent.answer.Exchanges = sent.calls.json()
	}
	switch {
	case err != nil:
		sent.end.err = err
	case o.Next == dhis2.StopDataSet:
		sent.end = ended{after: stop, failure: &failure{state: ledger.Refused, reason: NothingAccepted, text: refusedText(o), remedy: refusedRemedy(o)}}
	case o.Failure != nil && l.isOfChunk(o):
		l.mute, l.longest = o.Failure, max(l.longest, o.Wait)
	case o.Failure != nil:
		if o.Next == dhis2.StopRun {
			l.noteDown(ctx, "DHIS2 "+l.who.to.Name, errorOf(o.Failure))
		}
		l.last, l.longest = o.Failure, max(l.longest, o.Wait)
		sent.end = ended{after: later}
	default:
		l.proven = l.proven || !o.AsWhole()
		return o, true
	}
	return o, false
}

func (l *ladder) chunk(values []dhis2.DataValue) dhis2.Chunk {
	return dhis2.Chunk{DataSet: l.dataSet, Period: l.submission.Period, AttributeOptionCombo: l.combo, Values: values}
}

// setAside keeps what was found back, and in the rest of the range what is refused for the same.
func (l *ladder) setAside(found []dhis2.Refusal) {
	type reason struct {
		code    string
		subject dhis2.DataValue
	}
	reasons := map[reason]dhis2.Refusal{}
	var codes []string
	for _, r := range found {
		l.aside[r.Index] = r
		if !slices.Contains(codes, r.Code) {
			codes = append(codes, r.Code)
		}
		reasons[reason{r.Code, dhis2.Subject(r.Code, r.DataValue)}] = r
	}
	for _, place := range l.places(l.from, l.whole.To) {
		for _, code := range codes {
			if r, same := reasons[reason{code, dhis2.Subject(code, l.values[place])}]; same {
				l.aside[place] = l.refusal(place, r)
				break
			}
		}
	}
}

// giveUp makes a plain refusal of an answer: each value with what is known of it.
func (l *ladder) giveUp(sent *answered, places []int) {
	o := &sent.answer.Outcome
	var refused []dhis2.Refusal
	for i, place := range places {
		r, known := l.aside[place]
		if !known {
			r = l.refusal(place, o.Refused[0])
		}
		r.Index = i
		refused = append(refused, r)
	}
	o.State, o.Refused, o.Failure, sent.answer.Split = dhis2.StateRefused, refused, nil, false
	sent.end = l.settle(sent.chunk)
	l.known = l.from
}

// putOff lets an attempt stand as one that came to nothing now, and says why. The others go on.
func (l *ladder) putOff(sent *answered, why *dhis2.Error) {
	sent.answer.Outcome = dhis2.Outcome{State: dhis2.Unsent, Failure: why}.After(sent.chunk.Tried)
	sent.answer.Split = false
	l.open++
	l.last = why
	sent.end = ended{after: goOn}
	l.known = l.from
}

// refusedFor begins what is kept of a chunk that was narrowed. Up to the first colon it is for a line, with DHIS2's words
// behind it.
const refusedFor = "refused"

func (l *ladder) note(sent *answered, found []dhis2.Refusal, how string) {
	words := sent.answer.Refused[0]
	text := refusedFor
	if len(found) > 0 {
		words = found[0]
		noun, id := dhis2.At(words.Code, words.DataValue)
		ids := map[string]bool{}
		for _, r := range found {
			_, one := dhis2.At(r.Code, r.DataValue)
			ids[one] = true
		}
		how = "without it"
		if len(ids) > 1 {
			noun, id, how = counted(len(ids), noun), "", "without them"
		}
		text = strings.TrimSpace(text + " for " + noun + " " + id)
	}
	sent.answer.Failure = &dhis2.Error{Kind: dhis2.Refused, What: fmt.Sprintf("%s (%s), %s: %s", text, cmp.Or(words.Code, "no code"), how, words.Reason)}
}

// step books what was answered, records the chunk that goes next and sends it. Where it could not, or may not now, went is
// false, and what it gives is to be booked.
func (l *ladder) step(ctx context.Context, sent answered) (next answered, went bool) {
	places := l.places(l.from, l.to)
	text, err := l.who.to.Client.Pack(l.chunk(l.at(places)))
	if err != nil {
		sent.end.err = err
		return sent, false
	}
	chunk := ledger.Chunk{Range: ledger.Range{From: l.from, To: l.to}, SetAside: l.asideIn(l.from, l.to), Size: len(places), Digest: text.Digest}
	if err := l.book(context.WithoutCancel(ctx), &sent, func(ctx context.Context, tx *sql.Tx, id string) (err error) {
		chunk, err = l.Ledger.RecordChunkTx(ctx, tx, id, chunk)
		return err
	}); err != nil {
		sent.end.err = err
		return sent, false
	}
	if len(places) == 0 { // nothing to send, but to book
		next = answered{chunk: chunk, answer: ledger.Answer{Outcome: dhis2.Outcome{State: dhis2.StateRefused}}}
		next.end = l.settle(chunk)
		return next, true
	}
	l.watch(Progress{Step: "send", Done: l.done, Total: l.total})
	if end := l.mayGo(ctx); end != nil {
		return unsent(chunk, *end), false
	}
	return l.send(ctx, chunk, text), true
}

// start is where the values of a part begin.
func (l *ladder) start(part int) int { return l.starts[part-l.whole.From] }

// places are those of the values of a range that are to go.
func (l *ladder) places(from, to int) (places []int) {
	for p := l.start(from); p < l.start(to); p++ {
		if _, no := l.aside[p]; !no {
			places = append(places, p)
		}
	}
	return places
}

// asideIn is what does not go of a range, by its places there.
func (l *ladder) asideIn(from, to int) (aside []dhis2.Refusal) {
	for p := l.start(from); p < l.start(to); p++ {
		if r, no := l.aside[p]; no {
			r.Index = p - l.start(from)
			aside = append(aside, r)
		}
	}
	return aside
}

// parts counts the parts from from to to of which something goes.
func (l *ladder) parts(to int) (n int) {
	for part := l.from; part < to; part++ {
		if len(l.places(part, part+1)) > 0 {
			n++
		}
	}
	return n
}

// middle is the end of the first half of the range from from to to, by the parts of which something goes.
func (l *ladder) middle(to int) int {
	half := max(1, l.parts(to)/2)
	for part := l.from; part < to; part++ {
		if len(l.places(part, part+1)) > 0 {
			half--
		}
		if half == 0 {
			return part + 1
		}
	}
	return to
}
