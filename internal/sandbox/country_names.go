package sandbox

import (
	"fmt"
	"strings"
)

// countryProgramme is a programme of public health, with what its workers count.
type countryProgramme struct {
	name       string
	indicators []string
}

// countryProgrammeAt gives the programme of the data set at i. Beyond the known ones they have numbers.
func countryProgrammeAt(i int) countryProgramme {
	programmes := []countryProgramme{
		{"MCH", []string{
			"ANC first visits", "ANC fourth visits", "Pregnancies registered", "Births", "Deliveries at a facility",
			"Newborn visits within two days", "Postnatal visits", "Maternal deaths", "Newborn deaths",
			"Iron tablets given in pregnancy", "Danger signs referred in pregnancy", "Teenage pregnancies",
		}},
		{"Malaria", []string{
			"Fever cases", "RDT done", "RDT positive", "Cases treated with ACT", "Severe cases referred",
			"Nets handed out", "Households with a net", "Malaria in pregnancy", "Malaria deaths", "Indoor spraying seen",
		}},
		{"Immunisation", []string{
			"BCG doses", "Polio birth doses", "Penta first doses", "Penta third doses", "Measles first doses",
			"Measles second doses", "Fully immunised children", "Defaulters traced", "Vaccination sessions",
		}},
		{"Nutrition", []string{
			"Children screened with MUAC", "Moderate wasting", "Severe wasting", "Wasting referred", "Vitamin A doses",
			"Deworming doses", "Breastfeeding talks", "Oedema cases",
		}},
		{"Family planning", []string{
			"New users", "Returning users", "Pill cycles given", "Condoms given", "Injections given", "Implants referred",
		}},
		{"TB and HIV", []string{
			"TB screened", "TB presumed", "TB referred", "HIV tests offered", "HIV self-tests given", "ART visits missed",
		}},
	}
	if i < len(programmes) {
		return programmes[i]
	}
	return countryProgramme{fmt.Sprintf("Programme %d", i+1), []string{"Home visits", "Referrals", "Follow-ups", "Health talks"}}
}

// indicator gives the name of the programme's element at i. Beyond the known ones they go on by age and then by number.
func (p countryProgramme) indicator(i int) string {
	ages := []string{"", " under 1", " 1 to 4", " 5 to 14", " 15 to 24", " 25 to 49", " 50 and over"}
	round, name := i/len(p.indicators), p.indicators[i%len(p.indicators)]
	name += ages[round%len(ages)]
	if again := round / len(ages); again > 0 {
		name += fmt.Sprint(" ", again+1)
	}
	if strings.HasPrefix(p.name, "Programme ") {
		name = p.name + " " + strings.ToLower(name)
	}
	return name
}
