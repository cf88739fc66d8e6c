package cht

import (
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// startDay reads the day on which months begin as the CHT's own library does (cht-core, shared-libs/calendar-interval): of the
// settings the first that holds anything at all counts, and of that the number with which it begins, "26th" and 26.5 too. What
// is no day of 1 to 31 is the first.
func startDay(settings ...json.RawMessage) int {
	for _, raw := range settings {
		if !truthy(raw) {
			continue
		}
		text := strings.TrimLeft(strings.Trim(string(raw), `"`), " \t+")
		digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
		if n, err := strconv.Atoi(text[:digits]); err == nil && n >= 1 && n <= 31 {
			return n
		}
		return 1
	}
	return 1
}

// nepaliTag is the month of a target document's id where that can only be one of the Nepali calendar, whose years are 56 or 57
// ahead.
var nepaliTag = regexp.MustCompile(`^target~(2(?:0[7-9]|1[0-4])\d-\d\d)~`)

// CheckTags refuses a CHT whose target documents are of months of the Nepali calendar, whatever its settings say now. Ask where
// a month has nothing at all: the documents of such a CHT stand under other months than anybody would ask for.
func (c *Client) CheckTags(ctx context.Context) error {
	var page struct {
		Rows []struct {
			ID string `json:"id"`
		} `json:"rows"`
	}
	query := url.Values{"startkey": {`"target~2070-"`}, "endkey": {`"target~2150-"`}, "limit": {"1"}}
	doing := "look for months of another calendar in the CHT"
	if err := c.get(ctx, doing, "/medic/_all_docs?"+query.Encode(), &page); err != nil {
		return err
	}
	for _, row := range page.Rows {
		if tag := nepaliTag.FindStringSubmatch(row.ID); tag != nil {
			return &Error{Doing: doing, Kind: Refused, What: "it has target documents of month " + tag[1] + ", which is one of the Nepali calendar", Remedy: nepaliRemedy}
		}
	}
	return nil
}

const nepaliRemedy = "months of the Nepali calendar cannot be sent as Gregorian ones, and the CHT's export mistakes one for the other (cht-core 10652, 11342, 11413); this version of the mediator sends Gregorian months only"

// FirstDay is the first day of the interval that CHT tags with the month: the day after the last one of the month before.
func (s *Settings) FirstDay(month Month) time.Time {
	before := time.Date(month.Year, month.Month-1, 1, 0, 0, 0, 0, time.UTC)
	return s.LastDay(Month{Year: before.Year(), Month: before.Month()}).AddDate(0, 0, 1)
}
