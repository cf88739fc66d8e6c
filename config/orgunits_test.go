package config_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/config"
)

func TestOrgUnitsAreReadAsASpreadsheetSavesThem(t *testing.T) {
	t.Parallel()
	settings, err := os.ReadFile("testdata/good/smallest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	one := map[string]string{"OuOldAmani1": "OuAmaniHC01"}
	two := map[string]string{"OuOldAmani1": "OuAmaniHC01", "OuOldElimu1": "OuElimuHC01"}
	for _, test := range []struct {
		name, in string
		want     map[string]string
	}{
		{"commas", "from,to\nOuOldAmani1,OuAmaniHC01\nOuOldElimu1,OuElimuHC01\n", two},
		{"semicolons", "from;to\nOuOldAmani1;OuAmaniHC01\nOuOldElimu1;OuElimuHC01\n", two},
		{"tabs", "from\tto\nOuOldAmani1\tOuAmaniHC01\nOuOldElimu1\tOuElimuHC01\n", two},
		{"byte order mark", "\ufefffrom,to\nOuOldAmani1,OuAmaniHC01\n", one},
		{"line ends of Windows", "from,to\r\nOuOldAmani1,OuAmaniHC01\r\nOuOldElimu1,OuElimuHC01\r\n", two},
		{"line ends of an old Macintosh", "from,to\rOuOldAmani1,OuAmaniHC01\rOuOldElimu1,OuElimuHC01", two},
		{"all of these", "\ufefffrom;to\r\nOuOldAmani1;OuAmaniHC01\r\n", one},
		{"no line end at the end", "from,to\nOuOldAmani1,OuAmaniHC01", one},
		{"quotes", "\"from\",\"to\"\n\"OuOldAmani1\",\"OuAmaniHC01\"\n", one},
		{"quotes after a space", "from, to\nOuOldAmani1, \"OuAmaniHC01\"\n", one},
		{"quotes around the separator", "from,to\n\"Amani, annex\",OuAmaniHC01\n", map[string]string{"Amani, annex": "OuAmaniHC01"}},
		{"a quote in quotes", "from,to\n\"Amani \"\"annex\"\"\",OuAmaniHC01\n", map[string]string{`Amani "annex"`: "OuAmaniHC01"}},
		{"spaces around", " from , to \n OuOldAmani1 , OuAmaniHC01 \n", one},
		{"heading in capitals", "From,TO\nOuOldAmani1,OuAmaniHC01\n", one},
		{"columns of a person", "from,to,name,note\nOuOldAmani1,OuAmaniHC01,\"Amani; Santé\",x\n", one},
		{"columns of a person, tabs and an empty cell", "from\tto\tname\tnote\nOuOldAmani1\tOuAmaniHC01\t\tx\n", one},
		{"comma inside a heading with semicolons is a note", "from;to;note\nOuOldAmani1;OuAmaniHC01;a, b\n", one},
		{"empty rows", "\n\nfrom,to\n\n,\nOuOldAmani1,OuAmaniHC01\n,,,\n  ,\n", one},
		{"the same row twice", "from,to\nOuOldAmani1,OuAmaniHC01\nOuOldAmani1,OuAmaniHC01\n", one},
		{"two that become one", "from,to\nOuOldAmani1,OuAmaniHC01\nOuOldElimu1,OuAmaniHC01\n", map[string]string{"OuOldAmani1": "OuAmaniHC01", "OuOldElimu1": "OuAmaniHC01"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			file := write(t, map[string]string{
				"config.yaml": string(settings) + "    org_units_file: units.csv\n", "secret": secret, "units.csv": test.in,
			})
			got := load(t, config.Input{File: file}).DataSets[0].RenameOrgUnits
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
