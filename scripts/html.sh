#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Writes the manual pages, the README, the guides and the list of examples as HTML, with an index:
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

# Where a link of Markdown leads to: pages that are here, or nowhere beyond the source.
links='s,href="\(\.\./\)*\(python\|examples\)/README\.md,href="\2.html,g
	s,href="\(\.\./\)*\(docs/\|man/\|python/\|examples/\)*\([A-Za-z0-9_.-]*\)\.md\(#[^"]*\)*",href="\3.html\4",g
	s,href="\(\.\./\)*man/\([a-z0-9.-]*\.[137]\)",href="\2.html",g'

markdown() # FILE PAGE TITLE
{
	cmark-gfm -e table --unsafe --to html "$1" |
		awk '/^<h[1-6]>/ { # headings get the names that links within the page use
			name = tolower($0); gsub(/<[^>]*>/, "", name); gsub(/[^a-z0-9 -]/, "", name)
			gsub(/ /, "-", name); sub(/>/, " id=\"" name "\">") } { print }' |
		sed "$links" | frame "$2" "$3"
}

page() # FILE
{
	name=${1##*/}
	mandoc -T html -O "fragment,man=%N.%S.html,toc" "$1" | frame "$name.html" "${name%.*}(${name##*.})"
}

cp docs/style.css "$target/style.css"
list=
for file in man/*.[137]; do
	page "$file"
	name=${file##*/}
	about=$(sed -n '/^\.SH NAME/{n;s/.*\\- *//p;q}' "$file")
	list="$list<li><a href=\"$name.html\">${name%.*}(${name##*.})</a>: $about</li>
"
done
markdown README.md README.html 'sttcp: simple threaded TCP'
markdown python/README.md python.html 'The Python package'
markdown examples/README.md examples.html 'Examples'
for file in CHANGELOG.md CONTRIBUTING.md SECURITY.md docs/*.md; do
	name=${file##*/}
	markdown "$file" "${name%.md}.html" "$(sed -n '1s/^# //p' "$file")"
	list="$list<li><a href=\"${name%.md}.html\">$(sed -n '1s/^# //p' "$file")</a></li>
"
done
frame index.html "sttcp $version" <<EOF
<h1>sttcp $version</h1>
<ul>
<li><a href="README.html">README</a>: what it is, in a quarter of an hour</li>
<li><a href="examples.html">Examples</a></li>
<li><a href="python.html">The Python package</a></li>
$list</ul>
EOF

# A link that leads nowhere is a mistake in a source, or in this script.
dead=$(cd "$target" && grep -o 'href="[^"#:]*\.html' -- *.html | sort -u | while IFS=: read -r from link; do
	[ -e "${link#href=\"}" ] || echo "$from: ${link#href=\"}"
done)
[ -z "$dead" ] || { echo "html: links to pages that are not there:" && echo "$dead" && exit 1; } >&2
echo "html: $(cd "$target" && ls -- *.html | wc -l) pages in $target"
