// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011) and the lanes of dropout: the same numbers as kernels/philox and
// philox.h.
#pragma once
#include "device.cuh"

// philox returns the four words of a counter under a key.
CUK uint4 philox(uint4 c, uint2 key)
{
	UNROLL for (int round = 0; round < 10; round++)
	{
		unsigned high0 = umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
		unsigned high1 = umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
		c = make_uint4(high1 ^ c.y ^ key.x, low1, high0 ^ c.w ^ key.y, low0);
		key.x += 0x9E3779B9u;
		key.y += 0xBB67AE85u;
	}
	return c;
}

// Dropout is what a launch is given of kernels.Drop: lanes below the threshold are dropped (0: dropout is off), the rest
// multiplied by scale. site is the whole last counter word, StreamDropout<<16 | Site.
struct Dropout {
	unsigned threshold, key0, key1, step, site;
	float scale;
};

// drop_block returns the eight 16-bit lanes of columns 8*block to 8*block+7 of a token. Attention: block = key/8 | head<<20
// and token = query.
CUK uint4 drop_block(const Dropout &d, unsigned block, unsigned token)
{
	return philox(make_uint4(block, token, d.step, d.site), make_uint2(d.key0, d.key1));
}

// drop_lane returns lane l (0..7) of a block: bits 16*(l%2).. of word l/2.
CUK unsigned drop_lane(uint4 words, int l)
{
	unsigned word = l < 4 ? (l < 2 ? words.x : words.y) : (l < 6 ? words.z : words.w);
	return word >> (16 * (l & 1)) & 0xffffu;
}

// drop_factor returns what element (token, column) is multiplied by: 0 where it is dropped.
CUK float drop_factor(const Dropout &d, unsigned column, unsigned token)
{
	if (d.threshold == 0)
		return 1;
	return drop_lane(drop_block(d, column / 8, token), (int)(column % 8)) >= d.threshold ? d.scale : 0;
}
