package notice_test

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cht-dhis2/mediator/internal/notice"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// refused is a notice as the flow would write it.
func refused() notice.Notice {
	return notice.Notice{
		ID: "01JD", Installation: "Kisumu", Level: notice.Problem, Cause: "refused/DsMchMonth1/202610",
		Subject: "MCH monthly 202610 was refused",
		Text:    "DHIS2 took nothing: the period is locked.\nAsk for a lock exception, then run mediator retry.",
		At:      time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC),
		Facts:   []notice.Fact{{Name: "Data set", Value: "DsMchMonth1"}, {Name: "Period", Value: "202610"}},
	}
}

// errorOf gives the *Error in err, or ends the test.
func errorOf(t testing.TB, err error) *notice.Error {
	t.Helper()
	var e *notice.Error
	if !errors.As(err, &e) {
		t.Fatalf("got the error %v, want an *Error", err)
	}
	if e.Doing == "" || e.What == "" || e.Hint() == "" {
		t.Errorf("not said what was being done, what went wrong, and what to do: %+v", e)
	}
	return e
}

// secret gives the same one always.
func secret(text string) func() (string, error) {
	return func() (string, error) { return text, nil }
}
