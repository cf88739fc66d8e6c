package sandbox

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// chtQuery is what an export is asked for.
type chtQuery struct {
	dataSet string
	// from is in milliseconds since 1970; 0 is missing.
	from int64
	// filtered says that only the contacts which carry orgUnit count.
	filtered      bool
	orgUnit       string
	humanReadable bool
}

// readExportQuery reads what is asked for from the query, or from the body of a POST. A status other than 0 is the
// answer to a body that cannot be read.
func readExportQuery(r *http.Request) (query chtQuery, status int, text string) {
	if r.Method == http.MethodGet {
		return exportQueryOf(r.URL.Query()), 0, ""
	}
	if r.Header.Get("Content-Type") != "application/json" {
		return query, http.StatusBadRequest, "Content-Type must be application/json"
	}
	raw, err := io.ReadAll(r.Body)
	var body map[string]any
	if err != nil || json.Unmarshal(raw, &body) != nil {
		return query, http.StatusInternalServerError, "Server error"
	}
	return exportQueryOf(exportValues(body)), 0, ""
}

// exportValues gives the body of a POST in the form of a query.
func exportValues(body map[string]any) url.Values {
	values := url.Values{}
	put := func(name string, value any, there bool) {
		switch {
		case there && value == nil:
			values.Set(name, "")
		case there:
			values.Set(name, scriptText(value))
		}
	}
	filters, _ := body["filters"].(map[string]any)
	date, _ := filters["date"].(map[string]any)
	options, _ := body["options"].(map[string]any)
	dataSet, there := filters["dataSet"]
	put("filters[dataSet]", dataSet, there)
	from, there := date["from"]
	put("filters[date][from]", from, there)
	orgUnit, there := filters["orgUnit"]
	put("filters[orgUnit]", orgUnit, there)
	human, isText := options["humanReadable"].(string)
	put("options[humanReadable]", human, isText)
	return values
}

// exportQueryOf reads a query. A parameter that is repeated becomes a list, and as text its items with commas between.
func exportQueryOf(values url.Values) chtQuery {
	units, filtered := values["filters[orgUnit]"]
	return chtQuery{
		dataSet:       strings.Join(values["filters[dataSet]"], ","),
		from:          leadingInteger(strings.Join(values["filters[date][from]"], ",")),
		filtered:      filtered,
		orgUnit:       strings.Join(units, ","),
		humanReadable: strings.Join(values["options[humanReadable]"], ",") == "true",
	}
}

// leadingInteger reads the integer at the beginning of text, and 0 when there is none.
func leadingInteger(text string) int64 {
	text = strings.TrimLeft(text, " \t\r\n")
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || end == 0 && strings.ContainsRune("+-", rune(text[0]))) {
		end++
	}
	number, err := strconv.ParseInt(text[:end], 10, 64)
	if err != nil {
		return 0
	}
	return number
}
