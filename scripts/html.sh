#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Writes the manual pages, the READMEs, the guide and the sources that they link as HTML, with an index:
#
#	scripts/html.sh DIRECTORY
set -eu
export LC_ALL=C.UTF-8

target=${1:?usage: html.sh DIRECTORY}
mkdir -p "$target"
target=$(cd "$target" && pwd)
cd "$(dirname "$0")/.."
version=$(sed -n 's/^#define STTCP_VERSION_[A-Z]* *\([0-9]*\)$/\1/p' include/sttcp.h | paste -sd .)

# frame FILE TITLE: stdin in a page of its own.
frame()
{
	{
		cat <<-EOF
			<!DOCTYPE html>
			<html lang="en">
			<head>
			<meta charset="utf-8">
			<meta name="viewport" content="width=device-width, initial-scale=1">
			<title>$2</title>
			<link rel="stylesheet" href="style.css">
			</head>
			<body>
			<nav><a href="index.html">sttcp $version</a></nav>
			<main>
		EOF
		cat
		printf '</main>\n</body>\n</html>\n'
	} >"$target/$1"
}

# Where a link of Markdown leads to: pages that are here, or nowhere.
links='s,href="\(\.\./\)*\(python\|examples\|bench\)/README\.md,href="\2.html,g
	s,href="\(\.\./\)*\(docs/\|man/\|python/\|examples/\)*\([A-Za-z0-9_.-]*\)\.md\(#[^"]*\)*",href="\3.html\4",g
	s,href="\(\.\./\)*man/\([a-z0-9.-]*\.[137]\)",href="\2.html",g
	s,href="\(\.\./\)*\(examples/\|include/\)*\([a-z0-9_]*\.[ch]\|LICENSE\)",href="\3.html",g
	s,<a href="[^"]*/">\([^<]*\)</a>,\1,g'

markdown() # FILE PAGE TITLE
{
	cmark-gfm -e table --unsafe --to html "$1" |
		awk '/^<h[1-6]>/ { # headings get the names that links within the page use
			name = tolower($0); gsub(/<[^>]*>/, "", name); gsub(/[^a-z0-9 -]/, "", name)
			gsub(/ /, "-", name); sub(/>/, " id=\"" name "\">") } { print }' |
		sed "$links" | frame "$2" "$3"
}

# Other pages are named as in bold(1), and a prototype is where links to its function lead.
page() # FILE
{
	name=${1##*/}
	mandoc -T html -O "fragment,man=%N.%S.html,toc" "$1" |
		sed 's,<b>\(sttcp[a-z-]*\)</b>(\([137]\)),<a href="\1.\2.html"><b>\1</b>(\2)</a>,g
			s,<b>\([^<>(]*[ *]\)\(sttcp_[a-z_]*\)(,<b id="\2">\1\2(,' |
		frame "$name.html" "${name%.*}(${name##*.})"
}

source_page() # FILE
{
	{
		echo "<h1>$1</h1><pre><code>"
		sed 's/&/\&amp;/g; s/</\&lt;/g' "$1"
		echo '</code></pre>'
	} | frame "${1##*/}.html" "$1"
}

cp docs/style.css "$target/style.css"
list=
for file in man/sttcp.[137] man/sttcp-*.[17]; do
	page "$file"
	name=${file##*/}
	about=$(sed -n '/^\.SH NAME/{n;s/.*\\- *//p;q}' "$file")
	list="$list<li><a href=\"$name.html\">${name%.*}(${name##*.})</a>: $about</li>
"
done
markdown README.md README.html 'sttcp: simple threaded TCP'
markdown python/README.md python.html 'The Python package'
markdown examples/README.md examples.html 'Examples'
markdown bench/README.md bench.html 'Benchmarks'
for file in include/sttcp.h examples/*.c LICENSE; do
	source_page "$file"
done
others=
for file in docs/*.md CHANGELOG.md CONTRIBUTING.md SECURITY.md; do
	name=${file##*/}
	title=$(sed -n '1s/^# //p' "$file")
	markdown "$file" "${name%.md}.html" "$title"
	case $name in guide.md | compare.md) continue ;; esac
	others="$others<li><a href=\"${name%.md}.html\">$title</a></li>
"
done

# A function that a text names leads to the manual.
functions=$(sed -n 's/.*<b id="\(sttcp_[a-z_]*\)".*/\1/p' "$target/sttcp.3.html")
for name in $functions; do
	echo "s,<b>$name</b>\\((3)\\)*,<a href=\"sttcp.3.html#$name\">&</a>,g"
	echo "s,<code>$name</code>,<a href=\"sttcp.3.html#$name\">&</a>,g"
done >"$target/functions.sed"
sed -i -f "$target/functions.sed" "$target"/*.html
rm "$target/functions.sed"

frame index.html "sttcp $version" <<EOF
<h1>sttcp $version</h1>
<ul>
<li><a href="README.html">README</a>: what it is, in a quarter of an hour</li>
<li><a href="guide.html">The guide</a>: from an echo server to a production server</li>
<li><a href="examples.html">Examples</a></li>
<li><a href="python.html">The Python package</a></li>
<li><a href="compare.html">What to use instead, and when</a></li>
</ul>
<h2>The manual</h2>
<ul>
$list<li><a href="sttcp.h.html">sttcp.h</a></li>
</ul>
<p class="functions">
$(printf '%s\n' "$functions" | sort -u | sed 's,.*,<a href="sttcp.3.html#&">&</a>,')
</p>
<h2>The project</h2>
<ul>
$others<li><a href="bench.html">Benchmarks</a></li>
</ul>
EOF

# A link that leads nowhere is a mistake in a source, or in this script.
dead=$(cd "$target" && grep -o 'href="[^":]*"' -- *.html | sort -u | while IFS=: read -r from link; do
	link=${link#href=\"}
	link=${link%\"}
	file=${link%%#*}
	place=${link#*#}
	[ -e "${file:=$from}" ] && { [ "$place" = "$link" ] || grep -q "id=\"$place\"" "$file"; } ||
		echo "$from: $link"
done)
[ -z "$dead" ] || { echo "html: links to pages that are not there:" && echo "$dead" && exit 1; } >&2
echo "html: $(cd "$target" && ls -- *.html | wc -l) pages in $target"
