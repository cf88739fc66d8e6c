package form

import (
	"slices"
	"strings"
	"unicode"
)

// likeliest gives the id of the thing whose name a target's name holds word by word, in any order; of several the one with the
// most words. Where none is, or two are as likely, it gives none: a suggestion must be worth reading.
func likeliest(targetName string, names map[string]string) string {
	has := words(targetName)
	best, most, tie := "", 0, false
	for id, name := range names {
		wanted := words(name)
		if len(wanted) == 0 || slices.ContainsFunc(wanted, func(w string) bool { return !slices.Contains(has, w) }) {
			continue
		}
		switch {
		case len(wanted) > most:
			best, most, tie = id, len(wanted), false
		case len(wanted) == most:
			tie = true
		}
	}
	if tie {
		return ""
	}
	return best
}

// sameWords are words that mean the same in the names of targets and of combos; those that say nothing are empty.
var sameWords = map[string]string{
	"plus": "over", "above": "over", "older": "over", "more": "over", "below": "under", "less": "under", "younger": "under",
	"m": "male", "boys": "male", "men": "male", "f": "female", "girls": "female", "women": "female",
	"and": "", "or": "", "of": "", "the": "", "than": "", "years": "", "year": "", "yrs": "", "yr": "", "y": "",
}

// words are the words of a name, letters apart from digits, in lower case.
func words(name string) []string {
	name = strings.NewReplacer("+", " plus ", "<", " under ", ">", " over ", "≥", " over ").Replace(name)
	var all []string
	var word strings.Builder
	end := func() {
		one := strings.ToLower(word.String())
		word.Reset()
		if same, known := sameWords[one]; known {
			one = same
		}
		if one != "" && !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	last := rune(0)
	for _, r := range name {
		if unicode.IsDigit(r) != unicode.IsDigit(last) || unicode.IsUpper(r) && unicode.IsLower(last) {
			end()
		}
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			word.WriteRune(r)
		} else {
			end()
		}
		last = r
	}
	end()
	return all
}
