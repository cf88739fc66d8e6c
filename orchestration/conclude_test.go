package orchestration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

func TestAConclusionHoldsSoMuchOfTheEvidenceOnly(t *testing.T) {
	b := newBench(t, "2.43.1")
	sub := b.begin(t)
	call := Call{Name: "Send", Try: 1, Exchange: exchange.Exchange{
		Status: http.StatusServiceUnavailable,
		Sent:   exchange.NewBody([]byte(strings.Repeat("x", bodyLimit)), bodyLimit), Received: exchange.NewBody([]byte(strings.Repeat("y", bodyLimit)), bodyLimit),
	}}
	text, err := json.Marshal([]Call{call, call, call, call})
	if err != nil {
		t.Fatal(err)
	}
	const attempts = 300
	for n := range attempts {
		// Of one step the store keeps so many only.
		if err := b.Ledger.AddExchanges(t.Context(), sub.ID, fmt.Sprint(sendStep, n), text); err != nil {
			t.Fatal(err)
		}
	}
	c, err := b.conclusion(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	texts, calls := 0, 0
	for _, step := range c.Calls {
		for _, one := range step.Calls {
			calls++
			texts += len(one.Exchange.Sent.Text) + len(one.Exchange.Received.Text)
		}
	}
	if calls != 4*attempts || texts > textsLimit+calls*answerLimit {
		t.Errorf("%d calls, with %d bytes of bodies", calls, texts)
	}
	last := c.Calls[attempts-1].Calls[3].Exchange
	if last.Status != call.Exchange.Status || last.Sent.SHA256 != call.Exchange.Sent.SHA256 || !last.Sent.Cut || !strings.HasPrefix(last.Received.Text, "yyy") {
		t.Errorf("the last one is %+v", last)
	}
}
