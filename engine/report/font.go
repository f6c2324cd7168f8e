package report

import "strings"

// The letters of pictures are strokes on a grid: in glyphs a stroke is a list of points, strokes have blanks between them. A
// point is a letter for x (a is 0) and a digit for y, up to base 16: 0 is the foot of g, 3 the base line, 9 the height of x,
// c that of H. A capital x makes the point the control point of a quadratic curve from the point before to the one behind.
var glyphs = map[rune]string{
	'0': "a6a9AcdcGcg9g6G3d3A3a6", '1': "badcd3", '2': "a9AcdcGcg9G7e6a3g3", '3': "aaAcdcGcgaG8d8c8 d8G8g5G3d3A3a5", '4': "g6a6fcf3",
	'5': "fcbcb8C9d9G9g6G3d3A3a5", '6': "faFcdcAca7a6A3d3G3g6G9d9A9a6", '7': "acgcc3", '8': "d8A8aaAcdcGcgaG8d8G8g5G3d3A3a5A8d8",
	'9': "b5B3d3G3g8g9GcdcAca9A6d6G6g9",

	'A': "a3dcg3 b6f6", 'B': "d8a8 a3acdcGcgaG8d8G8g5G3d3a3", 'C': "gaGcdcAca9a6A3d3G3g5", 'D': "a3acccGcg8g7G3c3a3", 'E': "gcaca3g3 a8f8",
	'F': "gcaca3 a8f8", 'G': "gaGcdcAca9a6A3d3G3g5g7d7", 'H': "aca3 gcg3 a8g8", 'I': "aca3", 'J': "ece6E3c3A3a5", 'K': "aca3 gca7 c8g3",
	'L': "aca3f3", 'M': "a3ace5ici3", 'N': "a3acg3gc", 'O': "a7a8AcecIci8i7I3e3A3a7", 'P': "a3acdcGcgaG7d7a7", 'Q': "a7a8AcecIci8i7I3e3A3a7 f5i2",
	'R': "a3acdcGcgaG7d7a7 d7g3", 'S': "gaGcdcAcaaA8d8G8g5G3d3A3a5", 'T': "acgc dcd3", 'U': "aca6A3d3G3g6gc", 'V': "acd3gc", 'W': "acc3eag3ic",
	'X': "acg3 gca3", 'Y': "acd8gc d8d3", 'Z': "acgca3g3",

	'a': "f9f3 f6F9d9c9A9a6A3c3d3F3f6", 'b': "aca3 a6A9c9d9F9f6F3d3c3A3a6", 'c': "f8E9d9c9A9a6A3c3d3E3f4", 'd': "fcf3 f6F9d9c9A9a6A3c3d3F3f6",
	'e': "a6f6F9d9c9A9a6A3c3d3E3f4", 'f': "dcBcbab3 a9d9", 'g': "f9f2F0d0c0B0a1 f6F9d9c9A9a6A3c3d3F3f6", 'h': "aca3 a6A9c9d9F9f6f3",
	'i': "a9a3 ac", 'j': "c9c1C0a0 cc", 'k': "aca3 e9a5 b6f3", 'l': "aca3", 'm': "a9a3 a6A9c9E9e6e3 e6E9g9I9i6i3", 'n': "a9a3 a6A9c9d9F9f6f3",
	'o': "a6A9c9d9F9f6F3d3c3A3a6", 'p': "a9a0 a6A9c9d9F9f6F3d3c3A3a6", 'q': "f9f0 f6F9d9c9A9a6A3c3d3F3f6", 'r': "a9a3 a6A9d9",
	's': "e8E9c9A9a8A6c6E6e5E3c3A3a4", 't': "bbb5B3d3 a9d9", 'u': "a9a6A3c3d3F3f6 f9f3", 'v': "a9d3g9", 'w': "a9c3e9g3i9", 'x': "a9f3 f9a3",
	'y': "a9d3 g9c1B0a0", 'z': "a9f9a3f3",

	'.': "b3", ',': "b3a1", ':': "a3 a8", ';': "b8 b3a1", '!': "aca6 a3", '?': "aaAcccEceaE8c8c6 c3", '\'': "aca9", '"': "aca9 ccc9", '-': "a7e7",
	'_': "a2g2", '+': "a7g7 dad4", '=': "a9g9 a6g6", '*': "cbc7 aae8 eaa8", '/': "a2ec", '\\': "ace2", '|': "aca1", '(': "ccA9a7A4c1", ')': "acC9c7C4a1",
	'[': "ccaca1c1", ']': "acccc1a1", '{': "dcBcbaB7a7B7b3B1d1", '}': "acCccaC7d7C7c3C1a1", '<': "gaa7g4", '>': "aag7a4",
	'%': "aaAcbcCccaC8b8A8aa g5G7h7I7i5I3h3G3g5 gcc3", '#': "c3dc f3gc b9h9 a6g6", '$': "gaGcdcAcaaA8d8G8g5G3d3A3a5 dedc d3d1",
	'&': "h3b9BcdcFcfaa6A3c3F3g7", '@': "g9g6H5i7i8IcecAca8a6A2e2g2 g9e9C9c7C5e5g6", '^': "a9dcg9", '`': "acba", '~': "a7A9c8d7G6g8", '·': "a7", '×': "a9f4 f9a4",
	' ': "",
}

// tofu stands for a character without a glyph.
const tofu = "a3acgcg3a3"

const (
	capHeight   = 9.0 // of the grid's units, from the base line
	glyphWidth  = 0.9 // a unit in x, of one in y
	glyphGap    = 2.4 // between letters
	blankWidth  = 3.2
	capsPerSize = 0.70 // height of capitals, of the size of letters
)

// drawable replaces what has a near equivalent among the glyphs.
var drawable = strings.NewReplacer("…", "...", "–", "-", "—", "-", "‘", "'", "’", "'", "“", `"`, "”", `"`, "\t", " ")

// textWidth is the width of a text whose letters have a size.
func textWidth(text string, size float64) float64 {
	units := 0.0
	for _, r := range drawable.Replace(text) {
		units += advance(r)
	}
	return max(units-glyphGap, 0) * size * capsPerSize / capHeight
}

func glyph(r rune) string {
	if g, ok := glyphs[r]; ok {
		return g
	}
	return tofu
}

func advance(r rune) float64 {
	g := glyph(r)
	if g == "" {
		return blankWidth + glyphGap/2
	}
	widest := byte(0)
	if r >= '0' && r <= '9' {
		widest = 'g' - 'a' // figures stand under each other
	}
	for stroke := range strings.SplitSeq(g, " ") {
		for i := 0; i < len(stroke); i += 2 {
			widest = max(widest, stroke[i]|0x20-'a')
		}
	}
	return float64(widest)*glyphWidth + glyphGap
}

// write adds a text to the shape that is being drawn, its base line beginning at x, y.
func (c *canvas) write(text string, x, y, size, weight float64) {
	unit := size * capsPerSize / capHeight
	for _, r := range drawable.Replace(text) {
		for stroke := range strings.SplitSeq(glyph(r), " ") {
			px, py := strokePoints(stroke)
			for i := range px {
				px[i], py[i] = x+px[i]*unit*glyphWidth, y-(py[i]-3)*unit
			}
			if len(px) == 1 {
				c.disc(px[0], py[0], weight*0.8)
				continue
			}
			c.stroke(px, py, weight, nil)
		}
		x += advance(r) * unit
	}
}

// strokePoints turns a stroke into points on the grid, its curves into short lines.
func strokePoints(stroke string) (x, y []float64) {
	at := func(i int) (x, y float64, control bool) {
		digit := stroke[i+1]
		if digit >= 'a' {
			digit -= 'a' - 10 - '0'
		}
		return float64(stroke[i] | 0x20 - 'a'), float64(digit - '0'), stroke[i] < 'a'
	}
	for i := 0; i < len(stroke); i += 2 {
		px, py, control := at(i)
		if !control {
			x, y = append(x, px), append(y, py)
			continue
		}
		x0, y0 := x[len(x)-1], y[len(y)-1]
		x1, y1, _ := at(i + 2)
		const pieces = 8
		for j := 1; j < pieces; j++ {
			t := float64(j) / pieces
			u := 1 - t
			x, y = append(x, u*u*x0+2*u*t*px+t*t*x1), append(y, u*u*y0+2*u*t*py+t*t*y1)
		}
	}
	return x, y
}
