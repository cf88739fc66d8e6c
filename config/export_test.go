package config

// Variable names a variable of the environment and the key that it sets.
type Variable struct{ Name, Key string }

// Variables are all that are read.
func Variables() []Variable {
	var list []Variable
	for _, v := range variables {
		key := v.key
		if v.kind != "" {
			key = v.kind + "[]." + key
		}
		list = append(list, Variable{v.name, key})
	}
	return list
}
