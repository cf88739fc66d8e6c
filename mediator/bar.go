package main

import (
	"github.com/schollz/progressbar/v3"

	"github.com/cht-dhis2/mediator/orchestration"
)

// bar shows a person how far a submission has come. Where nobody watches it shows nothing.
type bar struct {
	*progressbar.ProgressBar

	a    *app
	step string
}

func (a *app) newBar() *bar { return &bar{a: a} }

func (b *bar) show(p orchestration.Progress) {
	if !isTerminal(b.a.stderr) {
		return
	}
	if p.Waiting != "" {
		if b.ProgressBar != nil {
			b.Describe("waiting: " + p.Waiting)
		}
		return
	}
	if p.Step != b.step {
		b.end()
		b.step = p.Step
		total := p.Total
		if total == 0 {
			total = -1
		}
		b.ProgressBar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(b.a.stderr), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetDescription(map[string]string{"fetch": "reading from the CHT", "compare": "reading from DHIS2", "send": "sending to DHIS2", "complete": "registering as complete"}[p.Step]))
	}
	_ = b.Set(p.Done)
}

// end takes the bar off the screen.
func (b *bar) end() {
	if b.ProgressBar != nil {
		_ = b.Finish()
		_ = b.Clear()
	}
	b.ProgressBar = nil
}
