/* shop.c: a simulated shop; see shop.h. */
#include "math/shop.h"

#define MAX_CENTS 1e15

/*
 * Draws customer `number` of a shop that is open for `days`: the first order
 * falls uniformly into them. A customer depends on the seed and the number
 * only, so more customers leave the first ones as they were.
 */
void
shop_customer(ShopCustomer *customer, const ShopParameters *shop,
			  uint64_t seed, int64_t number, double days)
{
	random_seed(&customer->stream, seed, (uint64_t) number);
	customer->rate = random_gamma(&customer->stream, shop->r, shop->alpha);
	customer->dropout = random_beta(&customer->stream, shop->a, shop->b);
	customer->spend_rate = random_gamma(&customer->stream, shop->q, shop->v);
	customer->p = shop->p;
	customer->day = random_uniform(&customer->stream) * days;
	customer->repeat = false;
}

static int64_t
draw_cents(ShopCustomer *customer)
{
	double		cents = 100 * random_gamma(&customer->stream, customer->p, customer->spend_rate) + 0.5;

	if (!(cents < MAX_CENTS))
		return (int64_t) MAX_CENTS;
	return cents < 1 ? 1 : (int64_t) cents;
}

/*
 * Gives the customer's next order before the shop's last day; false when there
 * is none. A customer may leave after every order but the first.
 */
bool
shop_next_order(ShopCustomer *customer, double days, ShopOrder *order)
{
	if (!(customer->day < days))
		return false;
	order->day = customer->day;
	order->cents = draw_cents(customer);
	if (customer->repeat && random_uniform(&customer->stream) < customer->dropout)
		customer->day = days;
	else
		customer->day += random_exponential(&customer->stream, customer->rate);
	customer->repeat = true;
	return true;
}
