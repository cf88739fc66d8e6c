package orchestration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// examined is the setting in which the store keeps what an examination after a change of the configuration found.
const examined = "examined"

// examinedChange is what is kept of it.
type examinedChange struct {
	// Fingerprint is of the configuration that was examined.
	Fingerprint string    `json:"fingerprint"`
	At          time.Time `json:"at"`
	// Findings are those that are not green, the first ones, and of how many.
	Findings []Finding `json:"findings"`
	Red      int       `json:"red"`
	Amber    int       `json:"amber"`
	// ToldIn is the submission, or the day, whose transaction tells them; empty until there is one.
	ToldIn string `json:"told_in,omitempty"`
}

const (
	// changesEvery is how often it is looked whether the configuration is another one, beginning so long after the start: a
	// service that starts again and again has others to ask.
	changesEvery = 30 * time.Second
	// mostTold is how many findings are told to OpenHIM.
	mostTold = 20
)

// Watch examines once after each change of the configuration, in the file or in the console, until the context ends. What
// fails on the way is a finding, and stops nothing.
func (e *Examiner) Watch(ctx context.Context) {
	ticker := time.NewTicker(changesEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := e.examineChange(ctx); err != nil && ctx.Err() == nil {
			e.Submitter.logger().WithError(err).Warn("the changed configuration could not be examined")
		}
	}
}

// examineChange examines where the configuration is another one than the one that was examined last.
func (e *Examiner) examineChange(ctx context.Context) error {
	fingerprint, err := e.fingerprint(ctx)
	if err != nil {
		return err
	}
	known, err := e.Submitter.examinedChange(ctx)
	if err != nil || known.Fingerprint == fingerprint {
		return err
	}
	made, err := e.alone(ctx)
	if err != nil || ctx.Err() != nil { // one that was interrupted says nothing; the next start makes another one
		return err
	}
	worse := made.Worse()
	log := e.Submitter.logger().WithField("red", made.Count(Red)).WithField("amber", made.Count(Amber))
	for _, f := range worse {
		log.WithField("server", f.Server).WithField("check", f.Check).WithField("found", f.Detail).WithField("remedy", f.Remedy).Warn("the examination of the changed configuration found something")
	}
	log.Info("the changed configuration is examined")
	return e.Submitter.saveExamined(ctx, examinedChange{
		Fingerprint: fingerprint, At: made.ExaminedAt, Findings: worse[:min(len(worse), mostTold)], Red: made.Count(Red), Amber: made.Count(Amber),
	})
}

// alone makes an examination that ends with the context, while nobody else makes one.
func (e *Examiner) alone(ctx context.Context) (Examination, error) {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return Examination{}, ctx.Err()
	}
	limited, cancel := context.WithTimeout(ctx, examineFor)
	defer cancel()
	made := e.Examine(limited)
	if ctx.Err() == nil {
		e.last = made
	}
	return made, nil
}

// fingerprint tells the configuration in force from another one, what the console says included. It holds no secret, and a
// secret that is changed makes no other one.
func (e *Examiner) fingerprint(ctx context.Context) (string, error) {
	console, _, err := e.Submitter.Ledger.Setting(ctx, consoleGood)
	sum := sha256.New()
	sum.Write([]byte(e.Configuration + "\x00"))
	sum.Write(console)
	return hex.EncodeToString(sum.Sum(nil)), err
}

func (s *Submitter) examinedChange(ctx context.Context) (known examinedChange, err error) {
	text, _, err := s.Ledger.Setting(ctx, examined)
	if err == nil && text != nil {
		_ = json.Unmarshal(text, &known) // what cannot be read is examined anew
	}
	return known, err
}

func (s *Submitter) saveExamined(ctx context.Context, c examinedChange) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return s.Ledger.SaveSetting(ctx, examined, text)
}

// Untold gives what the examination after the last change of the configuration found, to be told in the transaction of a
// submission, or of a day: of the first one that asks, and of that one however often it does.
func (s *Submitter) Untold(ctx context.Context, transaction string) (Examination, error) {
	known, err := s.examinedChange(ctx)
	if err != nil || len(known.Findings) == 0 || known.ToldIn != "" && known.ToldIn != transaction {
		return Examination{}, err
	}
	if known.ToldIn == "" {
		known.ToldIn = transaction
		if err := s.saveExamined(ctx, known); err != nil {
			return Examination{}, err
		}
	}
	return concluded(known.At, known.Findings), nil
}
