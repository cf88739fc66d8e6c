package orchestration

import (
	_ "embed" // the page
	"html/template"
	"io"
	"slices"
)

//go:embed examination.html
var examinationPage string

// WriteHTML writes a page that can be sent to somebody: it needs nothing else, runs nothing, and holds no secret.
func (e Examination) WriteHTML(w io.Writer) error {
	page, err := template.New("examination").Parse(examinationPage)
	if err != nil {
		return err
	}
	return page.Execute(w, struct {
		Examination

		When              string
		Red, Amber, Green int
		Worse, Good       []Finding
	}{
		e, minute(e.ExaminedAt), e.Count(Red), e.Count(Amber), e.Count(Green), e.Worse(),
		slices.DeleteFunc(slices.Clone(e.Findings), func(f Finding) bool { return f.State != Green }),
	})
}
