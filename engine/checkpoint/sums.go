package checkpoint

// SHA256 returns the hash of one of its files in hexadecimal digits, which Open found right.
func (c *Checkpoint) SHA256(file string) (string, error) {
	f, err := c.find(file)
	return f.SHA256, err
}
