package dhis2

import (
	"encoding/json"
	"errors"
	"slices"
)

// ImportCount is what DHIS2 counted. The same fate has another name in each dialect: 2.43 never says imported, and
// 2.42 counts an unchanged value as ignored, and a zero that it does not keep nowhere.
type ImportCount struct {
	Imported int `json:"imported"`
	Updated  int `json:"updated"`
	Ignored  int `json:"ignored"`
	Deleted  int `json:"deleted"`
}

// Conflict is one of DHIS2's complaints, about the values at Indexes.
type Conflict struct {
	Object    string `json:"object"`
	Value     string `json:"value"`
	ErrorCode string `json:"errorCode"`
	Property  string `json:"property"`
	Indexes   []int  `json:"indexes"`
	// Objects has, from 2.43 on, what was put into the text, all of it in one text under "args".
	Objects any `json:"objects"`
}

func (c Conflict) args() string {
	objects, _ := c.Objects.(map[string]any)
	args, _ := objects["args"].(string)
	return args
}

// ImportSummary is what DHIS2 tells of an import.
type ImportSummary struct {
	Status      string      `json:"status"`
	Description string      `json:"description"`
	ImportCount ImportCount `json:"importCount"`
	Conflicts   []Conflict  `json:"conflicts"`
	// RejectedIndexes is nil where the server does not tell it (2.38, and 2.39 before 2.39.2).
	RejectedIndexes []int `json:"rejectedIndexes"`
}

// Answer is DHIS2's envelope round a summary.
type Answer struct {
	Status    string `json:"status"`
	Message   string `json:"message"`
	ErrorCode string `json:"errorCode"`
	// Response is nil where there is no summary.
	Response *ImportSummary `json:"response"`
}

// ParseAnswer reads the body of an answer to an import.
func ParseAnswer(body []byte) (Answer, error) {
	var answer Answer
	if err := json.Unmarshal(body, &answer); err != nil {
		return Answer{}, err
	}
	if answer.Status == "" && answer.Message == "" && answer.Response == nil {
		return Answer{}, errors.New("the answer is no envelope of DHIS2")
	}
	return answer, nil
}

// Rejected are the places of the values that were refused, in order, each once. Where the server does not list them
// they are those of its conflicts. Negative places, which stand for the whole request, are left out.
func (s *ImportSummary) Rejected() []int {
	places := slices.Clone(s.RejectedIndexes)
	if s.RejectedIndexes == nil {
		for _, c := range s.Conflicts {
			places = append(places, c.Indexes...)
		}
	}
	places = slices.DeleteFunc(places, func(i int) bool { return i < 0 })
	slices.Sort(places)
	return slices.Compact(places)
}
