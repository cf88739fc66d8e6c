package issue

import "strings"

// Nearest gives the known word that looks most like one that is not known, for the remedy of a misspelling; empty where
// none looks like it. Upper and lower case make no difference.
func Nearest(word string, known []string) string {
	best, distance := "", 0
	for _, one := range known {
		if d := edits(strings.ToLower(word), strings.ToLower(one)); best == "" || d < distance {
			best, distance = one, d
		}
	}
	if distance > max(1, len(word)/2) {
		return ""
	}
	return best
}

// edits counts the bytes to add, to take away or to change to make one word of the other (Levenshtein).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, change)
		}
	}
	return row[len(b)]
}
