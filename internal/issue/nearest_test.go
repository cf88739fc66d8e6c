package issue_test

import (
	"testing"

	"github.com/cht-dhis2/mediator/internal/issue"
)

func TestNearestIsTheWordThatWasMeant(t *testing.T) {
	t.Parallel()
	known := []string{"schedule", "first_period", "org_units", "cht"}
	for _, test := range []struct{ name, word, want string }{
		{"a letter is missing", "schdule", "schedule"},
		{"letters are swapped", "frist_period", "first_period"},
		{"one of several", "org_unit", "org_units"},
		{"upper case", "CHT", "cht"},
		{"a short word with one wrong letter", "chd", "cht"},
		{"nothing like it", "password", ""},
		{"no word", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := issue.Nearest(test.word, known); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if got := issue.Nearest("anything", nil); got != "" {
		t.Errorf("got %q of no words", got)
	}
}
