// SPDX-License-Identifier: Apache-2.0

package config

import "time"

// Inventory is the configuration of crau-inventory.
type Inventory struct {
	// StateDir is the directory of the database.
	StateDir string `toml:"state_dir"`
	// IdleTimeout is how long the inventory must be idle before it exits; 0 disables.
	IdleTimeout Duration `toml:"idle_timeout" help:"until it exits; 0 disables"`
	// Retention limits the age of rows; 0 disables the limit.
	Retention Duration `toml:"retention" help:"of rows; 0: forever"`
	// Hold makes the broker keep entries that the inventory has not counted.
	Hold bool `toml:"hold" help:"have the log keep what is not counted yet"`
}

// DefaultInventory returns the default configuration.
func DefaultInventory() Inventory {
	return Inventory{
		StateDir:    "/var/lib/crypto-auditing-inventory",
		IdleTimeout: For(time.Minute),
		Retention:   For(5 * 365 * 24 * time.Hour),
		Hold:        true,
	}
}

// LoadInventory reads the files in order over the defaults. Deprecated lists the values
// that the next version rejects.
func LoadInventory(files ...string) (conf Inventory, deprecated []Deprecated, err error) {
	conf = DefaultInventory()
	if deprecated, err = load(files, &conf); err != nil {
		return Inventory{}, nil, err
	}
	return conf, deprecated, nil
}

func (i *Inventory) quantities() []quantityKey {
	return []quantityKey{
		{name: "idle_timeout", duration: &i.IdleTimeout, off: true},
		{name: "retention", duration: &i.Retention, number: ignored, off: true},
	}
}

// Check returns a *ValueError for the first invalid value.
func (i *Inventory) Check() error {
	const shortest = 40 * 24 * time.Hour
	switch {
	case i.StateDir == "":
		return badValue("state_dir", "must name a directory")
	case i.Retention.Duration != 0 && i.Retention.Duration < shortest:
		return badValue("retention", "%v must be at least 40d, or 0: rows are summed up to days before", i.Retention)
	}
	return nil
}
