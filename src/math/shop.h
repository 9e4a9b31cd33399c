/* shop.h: a simulated shop, whose customers follow BG/NBD and whose amounts follow Gamma-Gamma. */
#ifndef RETENTION_SHOP_H
#define RETENTION_SHOP_H

#include <stdbool.h>
#include <stdint.h>

#include "math/random.h"

/* r, alpha (days), a, b: purchases (Fader, Hardie, Lee 2005). p, q, v: spend (Fader, Hardie 2013). */
typedef struct ShopParameters
{
	double		r;
	double		alpha;
	double		a;
	double		b;
	double		p;
	double		q;
	double		v;
} ShopParameters;

/* A customer, drawn by shop_customer, whose orders shop_next_order gives in turn. */
typedef struct ShopCustomer
{
	RandomStream stream;
	double		rate;			/* orders a day while active */
	double		dropout;		/* probability of leaving after a repeat order */
	double		spend_rate;
	double		p;
	double		day;			/* of the next order, since the start of the simulation */
	bool		repeat;			/* the next order is not the first */
} ShopCustomer;

typedef struct ShopOrder
{
	double		day;
	int64_t		cents;
} ShopOrder;

extern void shop_customer(ShopCustomer *customer, const ShopParameters *shop,
						  uint64_t seed, int64_t number, double days);
extern bool shop_next_order(ShopCustomer *customer, double days, ShopOrder *order);

#endif
