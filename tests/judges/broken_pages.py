"""Pieces of HTML, a line each: what breaks the standard, and what looks odd and does not."""

# Both the Nu checker and our gates have to find an error in each.
BROKEN = r"""
<p><div>x</div></p>
<ul><p>x</p></ul>
<ul>text<li>x</li></ul>
<ol><li>a</li><div>b</div></ol>
<div><li>x</li></div>
<dl><dt>a</dt></dl>
<dl><dd>a</dd></dl>
<dl><p>x</p></dl>
<p>a <b>b <i>c</b> d</i></p>
<p>a</p></p>
<p>a</div></p>
<div>
<span><div>x</div></span>
<em><p>x</p></em>
<h2><p>x</p></h2>
<h3><div>x</div></h3>
<a href="x.html"><a href="y.html">z</a></a>
<a href="x.html"><button>z</button></a>
<button><a href="x.html">z</a></button>
<a href="a b.html">x</a>
<a href="http://">x</a>
<a href="http://a b/">x</a>
<a href="https://a.example/%zz">x</a>
<a href="https://a.example/[x]">x</a>
<a href="https://a.example/?q=[x]">x</a>
<a href="https://a.example/?q=a|b">x</a>
<a href="https://a.example/a|b">x</a>
<a href="https://a.example/{x}">x</a>
<a href="https://a.example/x\y">x</a>
<a name="x">x</a>
<a href="https:///x">x</a>
<a href="http:x">x</a>
<a href="mailto:a b@c">x</a>
<a href="x.html" target="">x</a>
<a href="x.html" target="_new">x</a>
<img src="a.png">
<img alt="x">
<img src="" alt="x">
<img src="a b.png" alt="x">
<img src="a.png" alt="x" width="100%">
<img src="a.png" alt="x" width="10px">
<img src="a.png" alt="x" width="-1">
<img src="a.png" alt="x" loading="fast">
<img src="a.png" alt="x" srcset="b.png 2y">
<center>x</center>
<font color="red">x</font>
<big>x</big>
<foo>x</foo>
<p foo="x">x</p>
<p class="a" class="b">x</p>
<p id="references">x</p>
<p id="">x</p>
<p id="a b">x</p>
<p lang="english!">x</p>
<p dir="up">x</p>
<table><tr></tr></table>
<table><tr><p>x</p></tr></table>
<table><tr><td colspan="0">x</td></tr></table>
<table><tr><td colspan="x">x</td></tr></table>
<table><tr><th scope="foo">x</th></tr></table>
<table><tr><td>a</td></tr><caption>x</caption></table>
<tr><td>x</td></tr>
<figcaption>x</figcaption>
<details>x</details>
<summary>x</summary>
<iframe src="https://a.example/" width="100%"></iframe>
<source src="x">
<main>x</main>
<section><main>x</main></section>
<header><header>x</header></header>
<footer><header>x</header></footer>
<address><h2>x</h2></address>
<h4>x</h4>
<time datetime="5 March">x</time>
<time>5 March</time>
<ol start="x"><li>a</li></ol>
<ol type="b"><li>a</li></ol>
<li value="x">a</li>
<blockquote cite="a b">x</blockquote>
<p>&copy 2024</p>
<p>a < b</p>
<p>a <b</p>
<p>x<br/>y<br>z</br></p>
<p/>x
<div/>
<script src=""></script>
<style>p{color:red}</style>
<style>p{color:reddish}</style>
<link rel="icon" href="x.ico">
<meta name="x" content="y">
<title>x</title>
<form><form></form></form>
<form action=""><input></form>
<label for="nope">x</label>
<input type="foo">
<input type="text" required="yes">
<select><p>a</p></select>
<option>x</option>
<p role="foo">x</p>
<div aria-label="x">y</div>
<div aria-labelledby="nope">x</div>
<div aria-foo="x">y</div>
<span aria-hidden="yes">x</span>
<p hidden="foo">x</p>
<p tabindex="x">x</p>
<p contenteditable="maybe">x</p>
<picture><img src="a.png" alt="x"><source srcset="a.webp"></picture>
<picture></picture>
<!-- a
<!-->
<pre><p>x</p></pre>
<code><div>x</div></code>
<strike>x</strike>
<acronym title="x">y</acronym>
<p><ul><li>x</li></ul></p>
<p>x<h2>y</h2></p>
<bdo>x</bdo>
<object></object>
<embed src="">
<rt>x</rt>
<hgroup><div>b</div></hgroup>
<meter value="x"></meter>
<frameset></frameset>
<marquee>x</marquee>
<nobr>x</nobr>
<p><ins><div>x</div></ins></p>
<p><a href="x"><div>x</div></a></p>
<a href="x" href="y">z</a>
<p class="a"b>x</p>
<p class=a"b>x</p>
<p =x>y</p>
<p 'x>y</p>
<a href="data:text/plain,x y">x</a>
<a href="tel:+1 234">x</a>
<a href="https://a.example:99999/">x</a>
<a href="https://a..example/">x</a>
<a href="x" hreflang="zz-zz-zz-zz">y</a>
<p itemprop="x">y</p>
<div itemscope="x">y</div>
<div itemtype="https://schema.org/Thing">y</div>
<p xml:lang="en">x</p>
<p draggable="maybe">x</p>
<p spellcheck="maybe">x</p>
<p translate="maybe">x</p>
<td>x</td>
<body>
<html lang="de">
</body>
</main></main>
<p>&#1;</p>
<p>&#xfffe;</p>
<p>&#128;</p>
<p>&#x110000;</p>
<a href="x?a=1&lt;=2">y</a>
"""

# Neither finds an error of HTML in any.
SOUND = r"""
<a href="https://a.example/ü">x</a>
<a href="">x</a>
<a href="   ">x</a>
<a>x</a>
<a href="#">x</a>
<a href="x.html" rel="foo">x</a>
<a href="x.html" rel="noopener nofollow">x</a>
<img src="a.png" alt="">
<img src="a.png" alt="x" border="0">
<img src="a.png" alt="x" srcset="b.png 2x">
<img src="a.png" alt="x" longdesc="y">
<my-foo>x</my-foo>
<p align="center">x</p>
<p data-x="1">x</p>
<p onclick="x()">x</p>
<p style="color:red">x</p>
<p lang="de-DE">x</p>
<table><tr><td>x</td></tr></table>
<table border="1"><tr><td>x</td></tr></table>
<table cellpadding="1"><tr><td>x</td></tr></table>
<table><tr><td width="10">x</td></tr></table>
<table><tr><td>x</td><td>y</td></tr><tr><td>z</td></tr></table>
<table><caption>x</caption><thead><tr><th>x</th></tr></thead><tbody><tr><td>y</td></tr></tbody></table>
<figure><img src="a.png" alt="x"><figcaption>y</figcaption></figure>
<details><summary>a</summary>x</details>
<iframe src="https://a.example/"></iframe>
<iframe src="https://a.example/" frameborder="0"></iframe>
<video src="x.mp4" controls></video>
<video controls><source src="x.mp4" type="video/mp4"></video>
<h2></h2>
<h1>x</h1>
<time datetime="2026-03-05">x</time>
<ul type="disc"><li>a</li></ul>
<blockquote>x</blockquote>
<q cite="">x</q>
<p>a & b</p>
<script>alert(1)</script>
<script language="javascript">1</script>
<link rel="stylesheet" href="x.css">
<label>x <input type="text"></label>
<select><option>a</option></select>
<p role="note">x</p>
<nav aria-label="x">y</nav>
<section aria-labelledby="references">x</section>
<p hidden="hidden">x</p>
<svg width="10" height="10"><circle cx="5" cy="5" r="4"/></svg>
<svg><title>x</title></svg>
<math><mi>x</mi></math>
<picture><source srcset="a.webp"><img src="a.png" alt="x"></picture>
<!-- a -- b -->
<pre><code>x</code></pre>
<u>x</u>
<abbr title="x">y</abbr>
<sup><a href="#references">1</a></sup>
<a href="#nope">x</a>
<object data="x.swf"></object>
<map name="m"><area shape="rect" coords="1,2,3,4" href="x" alt="y"></map>
<ruby>x<rt>y</rt></ruby>
<hgroup><h2>a</h2><p>b</p></hgroup>
<progress value="1" max="2"></progress>
<dialog open>x</dialog>
<template><p>x</p></template>
<noscript><p>x</p></noscript>
<p><noscript>x</noscript></p>
<ins><p>x</p></ins>
<a href="x"><div>x</div></a>
<P CLASS=x>upper</P>
<p title='a"b'>x</p>
<a href="javascript:alert(1)">x</a>
<a href="ftp://a.example/x">x</a>
<a href="//a.example/x">x</a>
<a href="https://-a.example/">x</a>
<a href="x" download>y</a>
<div itemscope itemtype="https://schema.org/Thing"><p itemprop="name">x</p></div>
<p accesskey="">x</p>
<p class="">x</p>
<p title="">x</p>
<h2 id="h2x" align="left">x</h2>
<hr size="2">
<br clear="all">
<a href="x?a=1&b=2">y</a>
<a href="x?a=1&copy=2">y</a>
"""

# Whole pages: what is taken out of the head or the frame, and what is put in its place.
BROKEN_PAGES = {
    "no doctype": ("<!DOCTYPE html>", ""),
    "an old doctype": ("<!DOCTYPE html>", '<!DOCTYPE html PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">'),
    "an empty title": (r"<title>.*?</title>", "<title></title>"),
    "no title": (r"<title>.*?</title>", ""),
    "two titles": ("</title>", "</title><title>Another</title>"),
    "two descriptions": ("</title>", '</title><meta name="description" content="Another one.">'),
    "a meta without content": ("</title>", '</title><meta name="author">'),
    "a link without rel": ("</title>", '</title><link href="x.css">'),
    "a link without address": ("</title>", '</title><link rel="icon">'),
    "text in the head": ("</title>", "</title><p>text</p>"),
    "an encoding that is none": ('charset="utf-8"', 'charset="latin-1"'),
    "an unclosed main": ("</main>", ""),
    "a second main": ("</main>", "</main><main>x</main>"),
    "a second body": ("</main>", "</main><body>"),
    "text after the end": ("</html>", "</html><p>x</p>"),
}
