package sandbox

import "strconv"

// The documents are written by hand: a month may have 100,000 of them, and reflection would take most of the time.

// appendContact writes a contact as a document. Revisions are made from a document that begins with its id; the server sends
// documents that end with it, and with the revision.
func appendContact(b []byte, c *CHTContact, rev string) []byte {
	b = append(b, '{')
	if rev == "" {
		b = appendField(b, "_id", c.ID)
	}
	b = appendField(b, "type", c.Type)
	if c.ContactType != "" {
		b = appendField(b, "contact_type", c.ContactType)
	}
	b = appendField(b, "name", c.Name)
	if c.Parent != nil {
		b = append(b, `"parent":`...)
		b = append(appendParent(b, c.Parent), ',')
	}
	return appendEnd(appendContactRest(b, c), c.ID, rev)
}

// appendContactRest writes what stands after the parent.
func appendContactRest(b []byte, c *CHTContact) []byte {
	if c.ReportedDate != 0 {
		b = append(b, `"reported_date":`...)
		b = append(strconv.AppendInt(b, c.ReportedDate, 10), ',')
	}
	if len(c.DHIS) > 0 {
		b = append(b, `"dhis":`...)
		b = append(appendOrgUnits(b, c.DHIS), ',')
	}
	if c.Muted != "" {
		b = appendField(b, "muted", c.Muted)
	}
	if c.DateOfDeath != 0 {
		b = append(b, `"date_of_death":`...)
		b = append(strconv.AppendInt(b, c.DateOfDeath, 10), ',')
	}
	return b
}

// appendParent writes a chain of ids.
func appendParent(b []byte, p *CHTParent) []byte {
	depth := 0
	for ; p != nil; p = p.Parent {
		if depth++; depth > 1 {
			b = append(b, `,"parent":`...)
		}
		b = append(b, `{"_id":`...)
		b = appendText(b, p.ID)
	}
	for range depth {
		b = append(b, '}')
	}
	return b
}

// appendOrgUnits writes one org unit as an object and several as an array.
func appendOrgUnits(b []byte, units CHTOrgUnits) []byte {
	if len(units) != 1 {
		b = append(b, '[')
	}
	for i, unit := range units {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		if unit.OrgUnit != "" {
			b = appendField(b, "orgUnit", unit.OrgUnit)
		}
		if unit.DataSet != "" {
			b = appendField(b, "dataSet", unit.DataSet)
		}
		b = closeObject(b)
	}
	if len(units) != 1 {
		b = append(b, ']')
	}
	return b
}

// appendTargetDocument writes a target document, in the two forms of appendContact.
func appendTargetDocument(b []byte, d *CHTTargetDocument, rev string) []byte {
	b = append(b, '{')
	if rev == "" {
		b = appendField(b, "_id", d.ID)
	}
	b = appendOddField(b, d, "type", func(b []byte) []byte { return appendText(b, d.Type) })
	b = appendOddField(b, d, "user", func(b []byte) []byte { return appendText(b, d.User) })
	b = appendOddField(b, d, "owner", func(b []byte) []byte { return appendText(b, d.Owner) })
	b = appendOddField(b, d, "reporting_period", func(b []byte) []byte { return appendText(b, d.ReportingPeriod) })
	if _, odd := d.Odd["targets"]; odd || d.Targets != nil {
		b = appendOddField(b, d, "targets", func(b []byte) []byte { return appendCounts(b, d.Targets) })
	}
	b = appendOddField(b, d, "updated_date", func(b []byte) []byte { return strconv.AppendInt(b, d.UpdatedDate, 10) })
	return appendEnd(b, d.ID, rev)
}

// appendOddField writes a field of a target document, or what stands in its place.
func appendOddField(b []byte, d *CHTTargetDocument, name string, usual func([]byte) []byte) []byte {
	odd, there := d.Odd[name]
	if there && odd == "" {
		return b
	}
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `":`...)
	if there {
		return append(append(b, odd...), ',')
	}
	return append(usual(b), ',')
}

// appendCounts writes the targets of a document.
func appendCounts(b []byte, counts []CHTTargetCount) []byte {
	b = append(b, '[')
	for i := range counts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendCount(b, &counts[i])
	}
	return append(b, ']')
}

func appendCount(b []byte, count *CHTTargetCount) []byte {
	if count.Odd != "" {
		return append(b, count.Odd...)
	}
	b = append(b, `{"id":`...)
	b = appendText(b, count.ID)
	if v := count.Value; v != nil {
		b = append(b, `,"value":{`...)
		b = appendNumber(b, "pass", v.Pass)
		b = appendNumber(b, "total", v.Total)
		b = appendNumber(b, "percent", v.Percent)
		b = closeObject(b)
	}
	return append(b, '}')
}

// appendNumber writes a number of a target, or what is in its place; nothing for one that is missing.
func appendNumber(b []byte, name string, value any) []byte {
	if value == nil {
		return b
	}
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `":`...)
	if number, ok := value.(int); ok {
		b = strconv.AppendInt(b, int64(number), 10)
		return append(b, ',')
	}
	return append(append(b, marshal(value)...), ',')
}

// appendEnd ends a document: with its id and revision where it has one.
func appendEnd(b []byte, id, rev string) []byte {
	if rev != "" {
		b = appendField(b, "_id", id)
		b = appendField(b, "_rev", rev)
	}
	return closeObject(b)
}

// appendField writes a field that is text, and a comma.
func appendField(b []byte, name, value string) []byte {
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `":`...)
	return append(appendText(b, value), ',')
}

// closeObject ends an object, and takes the comma before its end away.
func closeObject(b []byte) []byte {
	if last := len(b) - 1; b[last] == ',' {
		b = b[:last]
	}
	return append(b, '}')
}

// appendText writes text as a JSON string.
func appendText(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			return append(b, quoted(text)...)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}
