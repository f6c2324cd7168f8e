package report

// compareSheet is the table of a comparison; under each run's figures stands what is its own in the configuration.
func compareSheet(t *comparison, width float64) sheet {
	const size, row = 13.0, 24.0
	inner := width - 2*pngPadding
	widths := make([]float64, len(t.Columns))
	nameWidth := inner
	for j, name := range t.Columns {
		widths[j] = textWidth(name, size)
		for _, run := range t.Runs {
			widths[j] = max(widths[j], textWidth(run.Figures[j].Text, size))
		}
		nameWidth -= widths[j]
	}
	// What is left over goes to the names, at most a quarter, and between the columns.
	gap := 14.0
	nameWidth = max(nameWidth-gap*float64(len(widths)), 80)
	if most := inner / 4; nameWidth > most {
		gap += (nameWidth - most) / float64(len(widths))
		nameWidth = most
	}
	names, notes := make([][]string, len(t.Runs)), make([][]string, len(t.Runs))
	height := pngPadding + 24 + row
	for i, run := range t.Runs {
		names[i] = wrapped(run.Name, size, nameWidth-8)
		notes[i] = wrapped(t.differences(i), size-1, inner-nameWidth-gap)
		height += compareRow(names[i], notes[i])
	}
	return sheet{width, height + pngPadding/2, func(c *canvas, left, top, _ float64) {
		left += pngPadding
		const title = "Comparison"
		c.label(title, left, top+pngPadding+10, 17, "ink", strongPen*1.3)
		c.label("held-out figures of the phase that each run ended in; strong: the best", left+textWidth(title, 17)+14, top+pngPadding+10, size, "soft", 1)
		y := top + pngPadding + 24
		x := left + nameWidth
		for j, name := range t.Columns {
			c.label(name, x+gap, y+16, size, "soft", 1.05)
			x += gap + widths[j]
		}
		y += row
		for i, run := range t.Runs {
			c.segment(left, y, left+inner, y, 1)
			c.paint(palette["rule"], 1)
			for j, line := range names[i] {
				c.label(line, left, y+16+lineHeight*float64(j), size, run.Class, strongPen)
			}
			x := left + nameWidth
			for j, f := range run.Figures {
				weight := 1.05
				if f.Best {
					weight = 1.7
				}
				c.label(f.Text, x+gap, y+16, size, "ink", weight)
				x += gap + widths[j]
			}
			for j, line := range notes[i] {
				c.label(line, left+nameWidth+gap, y+16+lineHeight*float64(j+1), size-1, "soft", 1)
			}
			y += compareRow(names[i], notes[i])
		}
	}}
}

func compareRow(name, notes []string) float64 {
	return float64(max(len(name), len(notes)+1))*lineHeight + 4
}
